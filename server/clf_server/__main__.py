"""``python -m clf_server``."""

from clf_sdk._collector import collect_rarely
from clf_sdk.errors import ClfError
from clf_server._cli import server

if __name__ == "__main__":
    collect_rarely()
    try:
        server()
    except ClfError as error:
        raise SystemExit(f"Error: {error}") from None
