"""`unbraid cache`."""

from datetime import datetime

from unbraid.core.cache import cache_folder
from unbraid.core.console import printable
from unbraid.core.kept import delete_abandoned, kept_arrays, make_room, parse_bytes
from unbraid.core.memory import format_bytes


def cache(limit: str | None = None, clear: bool = False) -> None:
    """Lists the decoded images and features that are kept for the next run, the least recently used first.

    Args:
        limit: Delete the least recently used until the rest takes at most so much, such as 20GB. The environment
            variable UNBRAID_CACHE_LIMIT does so whenever something is added.
        clear: Delete all of them. What a process uses stays in either case.
    """
    most = 0.0 if clear else None if limit is None else parse_bytes(limit, "--limit")
    found = kept_arrays()
    if most is None:
        for kept in found:
            used = datetime.fromtimestamp(kept.used)
            print(f"{used:%Y-%m-%d %H:%M}  {format_bytes(kept.size):>10}  {printable(kept.about) or 'images'}")
        print(f"{cache_folder()}: {len(found)} arrays, {format_bytes(sum(kept.size for kept in found))}")
        return
    delete_abandoned()
    gone, left = make_room(most, found)
    print(f"{cache_folder()}: {len(gone)} arrays deleted, {format_bytes(sum(kept.size for kept in gone))}")
    if left > most:
        print(f"{len(found) - len(gone)} arrays stay, {format_bytes(left)}: they are in use, or another user's")
