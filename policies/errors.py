"""Why a command is denied, with which error code, and what to do instead."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from typing import Final


class Reason(Enum):
    """Why a command is refused. Stable names: they stand in errors, metrics and the audit."""

    OPERATOR = "operator"
    RANGE = "range"
    RANGE_SIZE = "range-size"
    QUESTION = "question"
    QUESTION_SIZE = "question-size"
    GRID = "grid"
    PATTERN = "pattern"
    SORT = "sort"
    COMPUTE = "compute"
    RANDOM_EQUALITY = "random-equality"
    BELOW_ENCRYPTED = "below-encrypted"
    TYPE = "type"
    CONTEXT = "context"
    ENVELOPE = "envelope"
    COLLATION = "collation"
    INDEX = "index"
    STAGE = "stage"
    PIPELINE_UPDATE = "pipeline-update"
    JAVASCRIPT = "javascript"
    COMMAND = "command"
    NAMESPACE = "namespace"
    JOIN = "join"
    TARGET = "target"
    MIXED = "mixed"
    UNSEEN = "unseen"
    SHAPE = "shape"
    OPCODE = "opcode"
    TOO_LARGE = "too-large"
    WORK = "work"
    ROLE = "role"
    UNKNOWN_COMMAND = "unknown-command"
    UNKNOWN_OPERATOR = "unknown-operator"
    UNKNOWN_MODIFIER = "unknown-modifier"
    UNKNOWN_STAGE = "unknown-stage"
    UNKNOWN_EXPRESSION = "unknown-expression"
    UNKNOWN_ACCUMULATOR = "unknown-accumulator"


class ErrorCode(Enum):
    """The MongoDB error codes that a refusal answers with, and their code names."""

    BAD_VALUE = (2, "BadValue")
    FAILED_TO_PARSE = (9, "FailedToParse")
    UNAUTHORIZED = (13, "Unauthorized")
    TYPE_MISMATCH = (14, "TypeMismatch")
    COMMAND_NOT_FOUND = (59, "CommandNotFound")
    INVALID_PIPELINE_OPERATOR = (168, "InvalidPipelineOperator")
    NOT_IMPLEMENTED = (238, "NotImplemented")
    COMMAND_NOT_SUPPORTED = (115, "CommandNotSupported")
    OBJECT_TOO_LARGE = (10334, "BSONObjectTooLarge")
    UNKNOWN_GROUP_OPERATOR = (15952, "Location15952")
    UNRECOGNIZED_STAGE = (40324, "Location40324")

    @property
    def code(self) -> int:
        """The number drivers compare."""
        return self.value[0]

    @property
    def code_name(self) -> str:
        """The name that stands beside the number in a reply."""
        return self.value[1]


_CHECK_NAME: Final = "compare the name with MongoDB's manual"

# For each reason: the error code, what was denied, and what to do instead.
EXPLANATIONS: dict[Reason, tuple[ErrorCode, str, str]] = {
    Reason.OPERATOR: (
        ErrorCode.NOT_IMPLEMENTED,
        "this operator cannot work on encrypted values",
        "use equality ($eq, $ne, $in, $nin, $all, $exists), or do this step in the application",
    ),
    Reason.RANGE: (
        ErrorCode.NOT_IMPLEMENTED,
        "ciphertext has no order, so a range comparison would give a wrong answer",
        "declare a `range` for the class, see docs/asking.md for what a class with `ask: true` answers, or "
        "compare with $eq or $in",
    ),
    Reason.RANGE_SIZE: (
        ErrorCode.NOT_IMPLEMENTED,
        "the range covers more values than the policy allows to look up at once",
        "give both ends, narrow the range, or raise `max_values` in the policy",
    ),
    Reason.QUESTION: (
        ErrorCode.NOT_IMPLEMENTED,
        "the values that are stored cannot tell what satisfies this",
        "use another condition on this field, or do this step in the application",
    ),
    Reason.QUESTION_SIZE: (
        ErrorCode.NOT_IMPLEMENTED,
        "answering it takes more than one question may",
        "narrow the condition on this field, declare a `range` for its class, store the searchable part in a "
        "field of its own, or raise the limit",
    ),
    Reason.GRID: (
        ErrorCode.BAD_VALUE,
        "the class declares a range, so each path holds one value, on the grid and between its ends",
        "send a single value that lies on the grid, or change the range in the policy",
    ),
    Reason.PATTERN: (
        ErrorCode.NOT_IMPLEMENTED,
        "a pattern cannot match ciphertext",
        "see docs/asking.md for what a class with `ask: true` answers, search for the whole value, or store "
        "the searchable part in a field of its own",
    ),
    Reason.SORT: (
        ErrorCode.NOT_IMPLEMENTED,
        "ciphertext has no order, so sorting by it would give a wrong order",
        "see docs/asking.md for what a class with `ask: true` sorts, sort by another field, or sort in the "
        "application",
    ),
    Reason.COMPUTE: (
        ErrorCode.NOT_IMPLEMENTED,
        "an expression cannot compute on an encrypted value",
        "forward the field and compute in the application",
    ),
    Reason.RANDOM_EQUALITY: (
        ErrorCode.NOT_IMPLEMENTED,
        "a field in random mode cannot be compared",
        "use a deterministic class if the field must be searchable, or see docs/asking.md#random-classes for "
        "what `ask: true` answers; $exists and null work",
    ),
    Reason.BELOW_ENCRYPTED: (
        ErrorCode.NOT_IMPLEMENTED,
        "the path leads into a value that is encrypted as a whole",
        "address the covered field itself, or list the inner field in the policy instead",
    ),
    Reason.TYPE: (
        ErrorCode.TYPE_MISMATCH,
        "the class of this path does not store this value, or no value of its type",
        "send a value of the declared type, or change the class in the policy",
    ),
    Reason.CONTEXT: (
        ErrorCode.BAD_VALUE,
        "the class has a key for each value of another field, and here that is not known, or would change",
        "give that field in each stored document, as a string, whole number, ObjectId or binary; fix it by "
        "equality in the same filter, of a sub-document in the same $elemMatch; do not change it; and "
        "compare stored values with each other behind a $match that fixes it, or with the field in the key",
    ),
    Reason.ENVELOPE: (
        ErrorCode.BAD_VALUE,
        "the message carries bytes that look like a Sealwire envelope",
        "send plaintext; restore encrypted backups directly to the server",
    ),
    Reason.COLLATION: (
        ErrorCode.NOT_IMPLEMENTED,
        "a collation cannot apply to ciphertext",
        "see docs/asking.md for the collations that a class with `ask: true` answers, or leave the collation "
        "out of operations that compare encrypted fields",
    ),
    Reason.INDEX: (
        ErrorCode.NOT_IMPLEMENTED,
        "this kind of index cannot work on an encrypted field",
        "use an ascending, descending or hashed index on a deterministic field",
    ),
    Reason.STAGE: (
        ErrorCode.NOT_IMPLEMENTED,
        "this pipeline stage is not supported where covered fields can reach it",
        "see docs/policies.md for the stages that are, or run this step in the application",
    ),
    Reason.PIPELINE_UPDATE: (
        ErrorCode.NOT_IMPLEMENTED,
        "a pipeline update may put a constant or a field of the same class at a covered path, and no covered "
        "value elsewhere",
        "send the new value as a constant, or use update operators such as $set",
    ),
    Reason.JAVASCRIPT: (
        ErrorCode.NOT_IMPLEMENTED,
        "JavaScript cannot be analysed and is refused on a protected collection",
        "use query operators, or do this step in the application",
    ),
    Reason.COMMAND: (
        ErrorCode.COMMAND_NOT_SUPPORTED,
        "this command is not supported on a protected collection, or not known to carry no values",
        "see docs/commands.md for those that are; `allow_commands` in the policy lets one pass elsewhere",
    ),
    Reason.NAMESPACE: (
        ErrorCode.NOT_IMPLEMENTED,
        "the operation also touches a protected collection, which is not supported here",
        "run the steps apart, or keep this operation to collections without covered fields",
    ),
    Reason.JOIN: (
        ErrorCode.NOT_IMPLEMENTED,
        "only fields of one deterministic class can be joined, or fields that are both in clear",
        "give both fields the same deterministic class in the policy, or join in the application",
    ),
    Reason.MIXED: (
        ErrorCode.NOT_IMPLEMENTED,
        "in the reply, what was copied into a collection without a policy could pass for encrypted values",
        "keep the protected documents in a field of their own, or give the other collection a policy",
    ),
    Reason.TARGET: (
        ErrorCode.NOT_IMPLEMENTED,
        "what it writes is not encrypted as the policy of its target demands",
        "write to a collection with the same covered paths and classes, or keep only other fields ($project)",
    ),
    Reason.UNSEEN: (
        ErrorCode.UNAUTHORIZED,
        "the server does not tell this user whether it is a view, and behind one covered fields may lie",
        "grant the user listCollections on the database (the role `read` has it), or declare the collection "
        "`plain` in the policy",
    ),
    Reason.SHAPE: (
        ErrorCode.BAD_VALUE,
        "the command does not have the shape that the proxy can analyse",
        "compare the command with MongoDB's manual; the proxy passes on only what it understands",
    ),
    Reason.OPCODE: (
        ErrorCode.COMMAND_NOT_SUPPORTED,
        "legacy opcodes are supported for handshakes and logins only",
        "use a driver for MongoDB 4.2 or newer",
    ),
    Reason.TOO_LARGE: (
        ErrorCode.OBJECT_TOO_LARGE,
        "the document is larger than the server accepts once its covered fields are encrypted",
        "split the document, or send fewer documents in one batch",
    ),
    Reason.WORK: (
        ErrorCode.NOT_IMPLEMENTED,
        "following covered fields through this command takes more work than one command may take",
        "use fewer stages, put fewer copies of whole documents into fields, or keep only the fields that are "
        "needed ($project) before documents are joined",
    ),
    Reason.ROLE: (
        ErrorCode.UNAUTHORIZED,
        "no role of this user allows it",
        "leave covered fields out of the command, or ask who keeps the policy's `roles`; where a role asks "
        "for a purpose or a reason, state it in the command's comment",
    ),
    # The texts of a server, which a quoted name follows.
    Reason.UNKNOWN_COMMAND: (
        ErrorCode.COMMAND_NOT_FOUND,
        "no such command",
        f"{_CHECK_NAME}; `allow_commands` in the policy lets a command of a newer server pass",
    ),
    Reason.UNKNOWN_OPERATOR: (ErrorCode.BAD_VALUE, "unknown operator", _CHECK_NAME),
    Reason.UNKNOWN_MODIFIER: (ErrorCode.FAILED_TO_PARSE, "unknown modifier", _CHECK_NAME),
    Reason.UNKNOWN_STAGE: (ErrorCode.UNRECOGNIZED_STAGE, "unrecognized pipeline stage name", _CHECK_NAME),
    Reason.UNKNOWN_EXPRESSION: (
        ErrorCode.INVALID_PIPELINE_OPERATOR,
        "unrecognized expression",
        _CHECK_NAME,
    ),
    Reason.UNKNOWN_ACCUMULATOR: (
        ErrorCode.UNKNOWN_GROUP_OPERATOR,
        "unknown group operator",
        _CHECK_NAME,
    ),
}


class Refusal(Exception):
    """A command is denied; the session answers with a MongoDB command error.

    Carries the policy path or operator that was in the way, never a value.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        path: str = "",
        rule: str = "",
        wanted: str = "",
        instead: str = "",
        known: Iterable[Iterable[bytes]] | None = None,
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.path = path
        self.rule = rule
        """The operator, or what else was written; else the command, as `within` fills it in."""
        self.wanted = wanted
        """What the policy says that the path takes, in words."""
        self.instead = instead
        """A hint for this refusal, where the reason's usual one does not help."""
        self.known = known
        """If nobody knows the name in `rule`: tables of those that somebody knows."""

    def within(self, rule: str) -> "Refusal":
        """The refusal itself, with what it happened in where nothing nearer is named."""
        if not self.rule:
            self.rule = rule
        return self

    @property
    def error_code(self) -> ErrorCode:
        """MongoDB's error code for the reply."""
        return EXPLANATIONS[self.reason][0]

    @property
    def message(self) -> str:
        """One line: path, operator, what was denied, what to do instead.

        Cost: O(1); if nobody knows the name, half a millisecond to find a similar one.
        """
        _, denied, usual = EXPLANATIONS[self.reason]
        rule, instead = self.rule, self.instead or usual
        if self.known is not None:
            denied, rule = f"{denied}: '{rule}'{self._meant(self.known)}", ""
        if self.wanted:
            denied = f"{denied} ({self.wanted})"
        where = " ".join(part for part in (rule, f"on '{self.path}'" if self.path else "") if part)
        return (
            f"Sealwire refused {where + ': ' if where else 'this: '}{denied}; {instead} [{self.reason.value}]"
        )

    def _meant(self, known: Iterable[Iterable[bytes]]) -> str:
        """The most similar of the known names as a question; empty if none is similar."""
        names = [name.decode() for table in known for name in table]
        similar = get_close_matches(self.rule, names, 1, _SIMILAR)
        return f" (did you mean '{similar[0]}'?)" if similar else ""


_SIMILAR: Final = 0.7
"""How much of two names has to agree: `fnd` and `find` do by 0.86, `foo` and `find` by 0.29."""
