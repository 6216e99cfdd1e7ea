"""Expressions and stages put together at random: what no list of examples thought of.

An expression is drawn by what it should yield, so that most of them are answered; the fields that it names
may hold something else all the same, and both ways must then fail alike.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.documents import fields
from tests.integration.differential.shapes import VISITS, Shape
from tests.integration.differential.values import WORDS, Document, Values, sampled, weighted

_MOST_LEAVES = 4
_WORD_PATHS = ("s", "s", "s2", "s2", "sub.s", "w", "missing", "x", "copy", "items.s")
_TARGETS = (
    *("s", "s2", "w", "x", "x", "copy", "copy", "list", "sub", "n", "sub.s", "sub.x", "items.s", "items.x"),
    *("copy.s", "copy.x", "deep.er"),
)
"""Where stages put what they compute; `below_a_value` has paths where nothing may be put."""

_SOUGHT = (
    *(
        "s",
        "s2",
        "w",
        "x",
        "x.s",
        "copy",
        "copy.s",
        "list",
        "sub.s",
        "sub.x",
        "items.s",
        "items.x",
        "deep.er",
    ),
    *("z.person", "z.s", "sub", "x.0", "0.s", "list.0"),
)


def _array(found: Any) -> Document:
    """`found`, or an empty array where it is none: what is no array would be an error."""
    return {"$let": {"vars": {"a": found}, "in": {"$cond": [{"$isArray": "$$a"}, "$$a", []]}}}


class _Drawn:
    """Strategies for the expressions of one shape, by what they yield."""

    def __init__(self, shape: Shape) -> None:
        constants: Values = sampled(WORDS) | st.none() | sampled(WORDS).map(lambda value: {"$literal": value})
        alike = tuple(path for path in _WORD_PATHS if self._is_word(shape, path))
        names = weighted((8, sampled(alike)), (1, sampled(_WORD_PATHS))).map("${}".format)
        lists = ["$items"] if shape.compares("items") else ["$nums"]
        lists += ["$list"] * 3 if self._is_word(shape, "list") else []
        self.list = _array(lists[-1])
        # a constant in place of a covered value can be forwarded only, so it comes rarely
        self.words: Values = self._recursive(weighted((9, names), (1, constants)), self._more_words)
        self.compared: Values = weighted((1, self.words), (1, constants))
        self.truths: Values = self._truths()
        self.lists: Values = self._recursive(
            st.one_of(
                st.sampled_from(lists).map(_array),
                st.lists(names, max_size=2),
                st.lists(constants, max_size=2),
            ),
            self._more_lists,
        )
        self.documents: Values = self._recursive(
            st.one_of(
                st.sampled_from(["$sub", "$sub", "$$ROOT", "$missing"]),
                st.fixed_dictionaries({}, optional={"s": self.words, "x": self.words, "w": names}),
            ),
            lambda inner: st.lists(inner, max_size=2).map(lambda parts: {"$mergeObjects": parts}),
        )
        self.others: Values = st.sampled_from(["$n", "$t", "$r", "$b", "$x", "$nums", "$_id", "$q", "$items"])
        self.any: Values = weighted(
            (4, self.words), (2, self.lists), (2, self.documents), (2, self.truths), (1, self.others)
        )
        self.fields = fields(shape)

    @staticmethod
    def _is_word(shape: Shape, path: str) -> bool:
        """Whether it may be compared with `s`, or is always in clear."""
        if path in ("missing", "x", "copy"):
            return True
        return shape.compares(path) and shape.class_of(path) == shape.class_of("s")

    @staticmethod
    def _recursive(simple: Values, more: Callable[[Values], Values]) -> Values:
        return st.recursive(simple, more, max_leaves=_MOST_LEAVES)

    def _more_words(self, inner: Values) -> Values:
        test: Values = st.builds(lambda one, two: {"$eq": [one, two]}, inner, inner) | st.just(
            {"$eq": ["$w", "a"]}
        )
        return st.one_of(
            st.builds(lambda test, one, two: {"$cond": [test, one, two]}, test, inner, inner),
            st.builds(lambda one, two: {"$ifNull": [one, two]}, inner, inner),
            st.builds(
                lambda test, one: {"$cond": {"if": test, "then": one, "else": "$$REMOVE"}}, test, inner
            ),
            st.builds(
                lambda test, one, two: {
                    "$switch": {"branches": [{"case": test, "then": one}], "default": two}
                },
                *(test, inner, inner),
            ),
            inner.map(lambda one: {"$let": {"vars": {"v": one}, "in": "$$v"}}),
            st.lists(inner, max_size=2).map(lambda several: {"$first": [several]}),
            st.just({"$arrayElemAt": [self.list, 0]}),
            st.sampled_from([{"$getField": "s"}, {"$getField": {"field": "s", "input": "$sub"}}]),
        )

    def _truths(self) -> Values:
        one, other, array = self.words, self.compared, self.list
        constants = st.lists(sampled(WORDS), max_size=2)
        several = st.lists(other, max_size=2)
        return st.one_of(
            st.builds(lambda word, left, right: {word: [left, right]}, sampled(("$eq", "$ne")), one, other),
            st.builds(lambda value, among: {"$in": [value, among]}, one, several),
            other.map(lambda value: {"$in": [value, array]}),
            one.map(lambda value: {"$not": [{"$eq": [value, "1"]}]}),
            st.builds(lambda left, right: {"$or": [{"$eq": [left, right]}, {"$gt": ["$q", 1]}]}, one, other),
            several.map(lambda values: {"$setIsSubset": [values, array]}),
            st.sampled_from(["$sub", {"$ifNull": ["$missing", "$sub"]}, "$items"]).map(
                lambda found: {"$eq": ["$sub", found]}
            ),
            constants.map(lambda values: {"$eq": [array, values]}),
        )

    @staticmethod
    def _more_lists(inner: Values) -> Values:
        return st.one_of(
            st.lists(inner, max_size=2).map(lambda several: {"$concatArrays": several}),
            inner.map(lambda found: {"$slice": [found, 1]}),
            inner.map(lambda found: {"$reverseArray": found}),
            st.builds(
                lambda found, word: {"$filter": {"input": found, "cond": {"$ne": ["$$this", word]}}},
                *(inner, sampled(WORDS)),
            ),
            st.builds(
                lambda found, made: {"$map": {"input": found, "as": "e", "in": made}},
                inner,
                st.sampled_from(["$$e", "$s", {"s": "$$e"}, {"$ifNull": ["$$e", "$s2"]}, "$$e.s"]),
            ),
        )


@cache
def _drawn(shape: Shape) -> _Drawn:
    return _Drawn(shape)


@cache
def computing_stages(shape: Shape) -> st.SearchStrategy[Document]:
    """Stages that move and make fields, one document for each that comes."""
    drawn, targets = _drawn(shape), sampled(_TARGETS)
    assigned = st.dictionaries(targets, drawn.any, min_size=1, max_size=2)
    flags = st.dictionaries(targets, st.just(1), max_size=2)
    return weighted(
        (4, assigned.map(lambda found: {"$set": found})),
        (3, st.builds(lambda kept, found: {"$project": kept | found}, flags, assigned)),
        (1, st.builds(lambda inner: {"$project": {"sub": {"s": inner, "x": "$w"}, "s": 1}}, drawn.any)),
        (1, st.lists(targets, min_size=1, max_size=2, unique=True).map(lambda names: {"$unset": names})),
        (1, st.dictionaries(targets, st.just(0), min_size=1, max_size=2).map(lambda out: {"$project": out})),
        (1, drawn.documents.map(lambda found: {"$replaceWith": {"$mergeObjects": [{"_id": "$_id"}, found]}})),
        (1, _unwinding()),
        (1, targets.map(lambda path: {"$setWindowFields": {"output": {path: {"$count": {}}}}})),
    )


def _unwinding() -> st.SearchStrategy[Document]:
    return st.builds(
        lambda path, index, keeps: {
            "$unwind": {"path": f"${path}", "preserveNullAndEmptyArrays": keeps}
            | ({"includeArrayIndex": index} if index else {})
        },
        sampled(("list", "items", "copy", "x", "sub", "items.list", "s")),
        sampled(("", "", "at", "s", "sub.x", "s.x")),
        st.booleans(),
    )


@cache
def matching_stages(shape: Shape) -> st.SearchStrategy[Document]:
    """`$match` on a path that a stage may have changed."""
    drawn = _drawn(shape)
    words: Values = sampled((*WORDS, "a", None, 1, True))
    some: Values = st.one_of(
        words,
        words.map(lambda value: {"$ne": value}),
        words.map(lambda value: {"x": value}),
        st.lists(words, max_size=2).map(lambda values: {"$in": values}),
        st.just({"$exists": True}),
        st.fixed_dictionaries({}, optional={"s": sampled(WORDS), "x": words}),
        st.lists(words, max_size=2),
    )
    named = st.builds(lambda path, found: {"$match": {path: found}}, sampled(_SOUGHT), some)
    return weighted((3, named), (1, drawn.truths.map(lambda found: {"$match": {"$expr": found}})))


@cache
def gathering_stages(shape: Shape) -> st.SearchStrategy[Document]:
    """`$group` by what is drawn, and what it gathers."""
    drawn = _drawn(shape)
    key = weighted(
        (3, drawn.words),
        (1, drawn.lists),
        (1, drawn.documents),
        (1, st.none()),
        (1, st.fixed_dictionaries({"s": drawn.words}, optional={"x": drawn.words})),
    )
    word = st.sampled_from(["$first", "$last", "$push"])
    gathered: Values = st.one_of(
        st.builds(lambda name, found: {name: found}, word, drawn.any),
        drawn.any.map(lambda found: {"$firstN": {"n": 2, "input": found}}),
        drawn.words.map(lambda found: {"$top": {"sortBy": {"_id": 1}, "output": found}}),
        drawn.truths.map(lambda found: {"$sum": {"$cond": [found, 1, 0]}}),
        st.just({"$mergeObjects": "$sub"}),
    )
    return st.builds(
        lambda by, one, distinct: {"$group": {"_id": by, "x": one, "set": {"$addToSet": distinct}}},
        *(key, gathered, drawn.words),
    )


@cache
def joining_stages(shape: Shape) -> st.SearchStrategy[Document]:
    """`$lookup` on fields that may have been changed, into a field that may be there already."""
    drawn, targets = _drawn(shape), sampled(("z", "z", "sub.z", "s", "s.x", "copy"))
    by_fields: Values = st.builds(
        lambda local, foreign: {"localField": local, "foreignField": foreign},
        sampled(("s", "x", "copy", "sub.s", "list", "w")),
        sampled(("person", "person", "w")),
    )
    by_pipeline: Values = st.builds(
        lambda word, test: {
            "let": {"v": word},
            "pipeline": [{"$match": {"$expr": test}}, {"$set": {"x": "$$v"}}],
        },
        drawn.words,
        st.sampled_from(
            [{"$eq": ["$person", "$$v"]}, {"$in": ["$$v", ["1", "$person"]]}, {"$eq": ["$w", "$$v"]}]
        ),
    )
    return st.builds(
        lambda found, name: {"$lookup": {"from": VISITS, "as": name} | found},
        by_fields | by_pipeline,
        targets,
    )


@cache
def below_a_value(shape: Shape) -> st.SearchStrategy[list[Any]]:
    """A stage that puts something below a field that may be covered, or takes it away, and a look at it."""
    join = {"from": VISITS, "localField": "w", "foreignField": "w"}
    counted: Document = {"$count": {}}
    stages: list[Callable[[str, Any], Document]] = [
        lambda path, value: {"$set": {path: {"$literal": value}}},
        lambda path, value: {"$project": {path: {"$literal": value}}},
        lambda path, _: {"$project": {path: 0}},
        lambda path, _: {"$unset": path},
        lambda path, _: {"$setWindowFields": {"output": {path: counted}}},
        lambda path, _: {"$unwind": {"path": "$items", "includeArrayIndex": path}},
        lambda path, _: {"$lookup": {**join, "as": path}},
    ]
    return st.builds(
        lambda stage, root, name, value, looks: [
            {"$sort": {"_id": 1}},
            stage(f"{root}.{name}", value),
            *([{"$match": {root: {name: value}}}] if looks else []),
        ],
        st.sampled_from(stages),
        sampled(("s", "r", "r", "list", "sub.s", "sub", "n")),
        sampled(("s", "x")),
        sampled(("1", 1)),
        st.booleans(),
    )


@cache
def computed_pipelines(shape: Shape) -> st.SearchStrategy[list[Any]]:
    """Pipelines of such stages, over documents sorted by `_id`."""
    stages = weighted((4, computing_stages(shape)), (3, matching_stages(shape)), (1, joining_stages(shape)))
    behind = st.lists(weighted((2, matching_stages(shape)), (1, _plain_assignments(shape))), max_size=2)
    grouped = st.builds(lambda group, more: [group, *more], gathering_stages(shape), behind)
    whole = st.builds(
        lambda found, last: [{"$sort": {"_id": 1}}, *found, *last],
        st.lists(stages, min_size=1, max_size=4),
        weighted((2, st.just([])), (1, grouped)),
    )
    return weighted((9, whole), (1, below_a_value(shape)))


def _plain_assignments(shape: Shape) -> st.SearchStrategy[Document]:
    return _drawn(shape).words.map(lambda found: {"$set": {"y": found}})
