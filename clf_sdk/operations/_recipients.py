"""To whom the outputs of a job go: for the program that seals them, and for whoever verifies."""

from __future__ import annotations

from clf_sdk.errors import InvalidJob
from clf_sdk.operations._parameters import Parameters
from clf_sdk.protocol import IdentityDocument, JobDocument


def output_recipients(
    job: JobDocument, parameters: Parameters | None, output: str
) -> list[IdentityDocument]:
    """Return the recipients of one output, in the job's order (docs/protocol.md §10).

    Parameters
    ----------
    job
        The job.
    parameters
        Of its operation; None for a program of somebody's own, whose outputs go to all.
    output
        Name of the output.

    Raises
    ------
    InvalidJob
        The output is for somebody who is no recipient of the job.
    """
    only = None if parameters is None else parameters.only_recipient(output)
    if only is None:
        return list(job.recipients)
    found = [who for who in job.recipients if who.digest == only]
    if not found:
        raise InvalidJob(
            f"output {output!r} is for somebody who is no recipient of the job",
            hint="name its recipient among the recipients of the job, too",
        )
    return found
