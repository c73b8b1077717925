"""An index on a Milvus server, for what one machine can't hold: milvus://[USER:PASSWORD@]HOST:PORT/COLLECTION.

For each domain there is a collection COLLECTION_a or COLLECTION_b, with the fields id, path, metadata, shared and
exclusive; COLLECTION_about says which model made the codes. Codes lie in a store on this machine first, so that nothing
is lost when the server doesn't answer: the next call sends what is waiting. Ids are made of domain and path, so what is
sent twice is there once, and several machines can send to one collection.
"""

import contextlib
import json
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from unbraid.core.cache import cache_folder
from unbraid.core.progress import Meter
from unbraid.core.types import DOMAINS, Domain, UserError
from unbraid.search.hit import Hit
from unbraid.search.identity import Identity
from unbraid.search.index import PARTS, Part
from unbraid.search.store import Store

PATIENCE = 4.0
"""Seconds to wait for a connection, and again for the first answer."""
ANSWER = 60.0
"""Seconds to wait for any other answer."""
SENT = 500
"""Images that are sent at a time."""
ASKED = 100
"""Queries that are asked at a time."""
LONGEST = 4096
"""Bytes of a path at most."""


@dataclass(frozen=True)
class Address:
    """Where a collection is."""

    host: str
    port: int
    collection: str
    token: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads milvus://[USER:PASSWORD@]HOST:PORT/COLLECTION. Raises UserError for anything else."""
        parts = urlsplit(text)
        collection = parts.path.strip("/")
        try:
            port = parts.port
        except ValueError:
            port = None
        if not (parts.hostname and port and collection.isidentifier() and collection.isascii()):
            raise UserError(
                f"{text}: give it as milvus://HOST:PORT/COLLECTION; a collection's name has letters, digits and _"
            )
        token = f"{parts.username}:{parts.password or ''}" if parts.username else ""
        return cls(parts.hostname, port, collection, token)

    def __str__(self) -> str:
        return f"milvus://{self.host}:{self.port}/{self.collection}"

    def of(self, domain: Domain) -> str:
        """Returns the collection of a domain."""
        return f"{self.collection}_{domain}"

    @property
    def about(self) -> str:
        """The collection that says whose codes these are."""
        return f"{self.collection}_about"

    def spool(self, suffix: str) -> Path:
        """Returns the folder on this machine that codes lie in before they are sent."""
        return cache_folder() / "milvus" / f"{self.collection}-{sha256(str(self).encode()).hexdigest()[:12]}{suffix}"


def connect(address: Address) -> Any:
    """Connects to a server. Raises UserError if pymilvus is missing, or nobody answers within ten seconds."""
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise UserError("milvus:// needs: pip install 'unbraid[milvus]'") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)  # it logs with a traceback what it raises too
    try:
        with socket.create_connection((address.host, address.port), timeout=PATIENCE):
            pass
        return MilvusClient(
            uri=f"http://{address.host}:{address.port}", token=address.token, timeout=PATIENCE, dedicated=True
        )
    except Exception as error:  # pymilvus raises its own kinds, and those of grpc
        raise UserError(f"Milvus at {address.host}:{address.port} doesn't answer ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    text = getattr(error, "message", "") or (error.strerror if isinstance(error, OSError) else "") or str(error)
    return str(text).splitlines()[0] if str(text) else type(error).__name__


@contextlib.contextmanager
def _asking(address: Address) -> Iterator[None]:
    """Raises what goes wrong in talking to the server as a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("pymilvus", "grpc")):
            raise
        raise UserError(f"{address}: the server could not do what was asked ({_reason(error)})") from error


@contextlib.contextmanager
def sending(
    to: str, suffix: str, asked: Identity, names: tuple[str, str] = DOMAINS
) -> Iterator[tuple[Store, Callable[[], list[str]]]]:
    """Yields a store to be filled, and what sends it and says what is there. See `Store.writing`.

    names: what the domains are called. Whether the server answers is looked at before anything is embedded, and said;
    codes are made all the same. Raises UserError if the collection holds another model's codes, or, in the end, if the
    server didn't answer.
    """
    address = Address.parse(to)
    spool = address.spool(suffix)
    with Store.writing(spool, asked) as store:
        try:
            client = connect(address)
            with _asking(address):
                _check_about(client, address, asked)
            client.close()
        except UserError as error:
            if "doesn't answer" not in str(error):
                raise
            print(f"{error}. Codes are kept in {spool} until it does", file=sys.stderr)
        yield store, lambda: _send(store, address, names)


def _check_about(client: Any, address: Address, asked: Identity) -> bool:
    """Returns whether the collection is there. Raises UserError if it is of another model."""
    if (known := _about(client, address)) is None:
        return False
    known.check(asked, str(address))
    return True


def _about(client: Any, address: Address) -> Identity | None:
    if not client.has_collection(address.about, timeout=PATIENCE):
        return None
    rows = client.query(address.about, filter="id == 0", output_fields=["identity"], timeout=PATIENCE)
    return Identity.from_json(rows[0]["identity"], str(address)) if rows else None


def _send(store: Store, address: Address, names: tuple[str, str]) -> list[str]:
    """Brings the server to what the store holds. Raises UserError if it doesn't answer; what it has then is known."""
    waiting = {domain: store.waiting(domain) for domain in DOMAINS}
    try:
        client = connect(address)
    except UserError as error:
        new, gone = (sum(counts) for counts in zip(*waiting.values(), strict=True))
        raise UserError(
            f"{error}. Codes of {new} images, and {gone} removals, are kept in {store.folder}: the next call sends them"
        ) from error
    try:
        with _asking(address):
            lines = _sent(store, address, client, names)
    except UserError as error:
        raise UserError(f"{error}. What it has not got is kept in {store.folder}: the next call sends it") from error
    finally:
        client.close()
    return lines


def _sent(store: Store, address: Address, client: Any, names: tuple[str, str]) -> list[str]:
    if not _check_about(client, address, store.identity):
        _make_about(client, address, store.identity)
    lines: list[str] = []
    for domain, name in zip(DOMAINS, names, strict=True):
        collection = address.of(domain)
        if not client.has_collection(collection, timeout=ANSWER):
            if not store.count(domain):
                continue
            _make(client, collection, store.identity.sizes[domain])
            store.unsend(domain)  # it was sent to a collection that is no more
        gone = 0
        while ids := store.gone(domain, SENT):
            client.delete(collection, ids=ids, timeout=ANSWER)
            store.forgotten(ids)
            gone += len(ids)
        new = 0
        with Meter(f"Sending {collection}", store.waiting(domain)[0]) as meter:
            while rows := store.unsent(domain, SENT):
                client.upsert(collection, _entities(store, domain, rows), timeout=ANSWER)
                store.sent([number for number, _, _ in rows])
                new += len(rows)
                meter.advance(len(rows))
        client.flush(collection, timeout=ANSWER)
        lines.append(
            f"{address}: {name}, {new} images sent and {gone} removed; {store.count(domain)} from this machine"
        )
    return lines


def _entities(store: Store, domain: Domain, rows: list[Any]) -> list[dict[str, Any]]:
    codes = store.codes(domain)
    shared = store.identity.sizes[domain][0]
    entities = []
    for number, item, row in rows:
        if len(item.path.encode()) > LONGEST:
            raise UserError(f"{item.path}: a path of more than {LONGEST} bytes can't be kept in Milvus")
        values = {"shared": codes[row, :shared], "exclusive": codes[row, shared:]}
        vectors = {part: value.tolist() for part, value in values.items() if len(value)}
        entities.append({"id": number, "path": item.path, "metadata": item.metadata, **vectors})
    return entities


def _make(client: Any, collection: str, sizes: tuple[int, int]) -> None:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("path", DataType.VARCHAR, max_length=LONGEST)
    schema.add_field("metadata", DataType.JSON)
    indexes = MilvusClient.prepare_index_params()
    for part, size in zip(PARTS, sizes, strict=True):
        if size:
            schema.add_field(part, DataType.FLOAT_VECTOR, dim=size)
            indexes.add_index(part, index_type="AUTOINDEX", metric_type="L2")
    client.create_collection(collection, schema=schema, index_params=indexes, timeout=ANSWER)


def _make_about(client: Any, address: Address, identity: Identity) -> None:
    """Returns a row of JSON; a collection must have a vector too, and not every server keeps a collection's
    description."""
    from pymilvus import DataType, MilvusClient

    if not client.has_collection(address.about, timeout=PATIENCE):
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("identity", DataType.JSON)
        schema.add_field("nothing", DataType.FLOAT_VECTOR, dim=2)
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index("nothing", index_type="AUTOINDEX", metric_type="L2")
        client.create_collection(address.about, schema=schema, index_params=indexes, timeout=ANSWER)
    row = {"id": 0, "identity": json.loads(json.dumps(identity.to_json())), "nothing": [0.0, 0.0]}
    client.upsert(address.about, [row], timeout=ANSWER)


class MilvusIndex:
    """The collections of an address, to be searched."""

    def __init__(self, place: str) -> None:
        self._address = Address.parse(place)
        self.place = str(self._address)
        self._client = connect(self._address)
        try:
            with _asking(self._address):
                identity = _about(self._client, self._address)
                if identity is None:
                    raise UserError(f"There is no index {self.place}. `unbraid index ... --to {self.place}` makes one")
                self.identity = identity
                self.domains: list[Domain] = [
                    domain for domain in DOMAINS if self._client.has_collection(self._address.of(domain))
                ]
                for domain in self.domains:
                    self._client.load_collection(self._address.of(domain), timeout=ANSWER)
        except BaseException:
            self.close()
            raise

    def nearest(
        self, domain: Domain, part: Part, queries: np.ndarray, k: int, where: Mapping[str, str]
    ) -> list[list[Hit]]:
        """Returns up to k hits for each query. See `Index.nearest`."""
        condition = " and ".join(f"metadata[{json.dumps(f)}] == {json.dumps(v)}" for f, v in where.items())
        found: list[list[Hit]] = []
        with _asking(self._address):
            for start in range(0, len(queries), ASKED):
                answers = self._client.search(
                    self._address.of(domain),
                    data=queries[start : start + ASKED].astype(np.float32).tolist(),
                    anns_field=part,
                    limit=k,
                    filter=condition,
                    output_fields=["path", "metadata"],
                    search_params={"metric_type": "L2"},
                    consistency_level="Strong",
                    timeout=ANSWER,
                )
                found += [[_hit(domain, entity) for entity in row] for row in answers]
        return found

    def holds(self, path: Path) -> bool:
        """Returns whether a file is one of the images; see `search.Index`."""
        condition = f"path in {json.dumps([str(path.absolute()), str(path.resolve())])}"
        with _asking(self._address):
            return any(
                self._client.query(self._address.of(domain), filter=condition, output_fields=["id"], timeout=ANSWER)
                for domain in self.domains
            )

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()


def _hit(domain: Domain, entity: Any) -> Hit:
    about = entity["entity"]
    metadata = about["metadata"]
    metadata = json.loads(metadata) if isinstance(metadata, (str, bytes)) else metadata
    return Hit(Path(about["path"]), domain, max(0.0, float(entity["distance"])) ** 0.5, dict(metadata))
