"""Views for notebooks: widgets where there are widgets, and the same as text elsewhere.

``print(view)`` is the text; ``view.text()`` returns it. Everything that a widget does goes through
the public functions of `clf_sdk`, so a notebook without widgets loses nothing.
"""

from clf_sdk.notebook._audit_view import AuditView, audit_view
from clf_sdk.notebook._catalogue import Catalogue, catalogue
from clf_sdk.notebook._inbox import Inbox, inbox
from clf_sdk.notebook._job_builder import JobBuilder, job_builder
from clf_sdk.notebook._monitor import Monitor, monitor
from clf_sdk.notebook._policy_editor import PolicyEditor, policy_editor
from clf_sdk.notebook._release_review import ReleaseReview, release_review

__all__ = [
    "AuditView",
    "Catalogue",
    "Inbox",
    "JobBuilder",
    "Monitor",
    "PolicyEditor",
    "ReleaseReview",
    "audit_view",
    "catalogue",
    "inbox",
    "job_builder",
    "monitor",
    "policy_editor",
    "release_review",
]
