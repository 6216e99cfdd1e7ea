"""Documents of the three collections: every type, nested, arrays of arrays, fields missing and null."""

from functools import cache

from hypothesis import strategies as st

from tests.integration.differential.asking import WIDER
from tests.integration.differential.shapes import CLASSES, Shape
from tests.integration.differential.values import NULL, STRAY, Document, Values, pool, sampled, weighted

_FEW_STRAY = 30
"""About one document in this many has a value that its class may not take."""


def record(**fields: Values) -> Values:
    """A document with some of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


class Fields:
    """Values for each part of a document of `people`, under one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.ward = self.value("w")
        self.deep = record(s=self.value("items.sub.s", NULL), w=self.ward)
        self.sub = record(
            s=self.value("sub.s", NULL), n=self.value("sub.n"), r=self.value("sub.r"), w=self.ward
        )
        words = self.value("list", NULL)
        # a random class stores an array as a whole, and none with null in it
        self.words = st.lists(words if shape.class_of("list") != "secret" else self.value("list"), max_size=3)
        self.item_words = st.lists(self.value("items.list", NULL), max_size=3)
        self.item = record(
            s=self.value("items.s", NULL),
            n=self.value("items.n"),
            k=self.value("items.k"),
            sub=self.deep | NULL | st.lists(self.deep, max_size=2),
            list=self.item_words,
        )
        self.items = st.lists(self.item, max_size=3)
        self.numbers = st.lists(sampled(pool("n", shape.class_of("nums"))), max_size=3)
        self.stored = self._stored()

    def value(self, path: str, *others: Values) -> Values:
        """What `path` may hold, or one of the others."""
        known = pool(path.rpartition(".")[2], self.shape.class_of(path))
        found = sampled(known + WIDER.get(self.shape.asked_type(path), ()) * (not self._has_range(path)))
        return st.one_of(found, found, *others) if others else found

    def _stored(self) -> dict[str, Values]:
        simple = {name: self.value(name, NULL) for name in ("s", "s2", "n", "t", "b", "r")}
        simple |= {name: self.value(name) for name in ("l", "d", "o", "x", "w", "q")}
        sub = self.sub | NULL
        if not self._has_range("sub.n"):
            sub |= st.lists(self.sub, max_size=2)
        nested = {
            "list": weighted((5, self.words), (3, self.value("list")), (1, st.lists(self.words, max_size=2))),
            "nums": self.numbers,
            "sub": sub,
            # a field whose name is a number, where a path means an element
            "items": st.one_of(
                *(self.items, self.item, NULL, st.lists(self.items, max_size=1)),
                self.item.map(lambda inner: {"0": inner}),
            ),
        }
        return simple | nested

    def _has_range(self, path: str) -> bool:
        return "range" in CLASSES.get(self.shape.class_of(path), {})


@cache
def fields(shape: Shape) -> Fields:
    """The fields of a shape, made once."""
    return Fields(shape)


@cache
def document(shape: Shape) -> st.SearchStrategy[Document]:
    """A document for `people`, without `_id`."""
    stored = fields(shape).stored
    searched = {name: stored[name] for name in ("s", "n", "t")}
    others = {name: values for name, values in stored.items() if name not in searched}
    whole = weighted(
        (3, st.fixed_dictionaries(searched, optional=others)),
        (1, st.fixed_dictionaries({}, optional=stored)),
    )
    strayed = st.builds(
        lambda found, name, value: found | {name: value}, whole, st.sampled_from(sorted(stored)), STRAY
    )
    return weighted((_FEW_STRAY, whole), (1, strayed))


def numbered(found: st.SearchStrategy[Document], *, most: int) -> st.SearchStrategy[list[Document]]:
    """One to `most` documents with `_id` from 0."""
    return st.lists(found, min_size=1, max_size=most).map(
        lambda several: [{"_id": number, **each} for number, each in enumerate(several)]
    )


@cache
def visit(shape: Shape) -> st.SearchStrategy[Document]:
    """A document for `visits`, without `_id`: `person` may be of the class of `people.s`."""
    person = fields(shape).value("s", NULL)
    return record(person=person, q=fields(shape).value("q"), w=fields(shape).ward, notes=sampled((1, "n")))
