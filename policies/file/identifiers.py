"""At which paths of a collection values identify a person.

Apart from `subject_links`, which reads the policy file: the session asks this, and knows no YAML.
"""

from sealwire.policies.file.schema import PathNode, leaves
from sealwire.policies.file.subjects import Subjects


def identifiers(subjects: Subjects, tree: PathNode) -> tuple[str, ...]:
    """The paths below `tree` whose values identify a person. Cost: O(paths)."""
    return tuple(
        node.path for node in leaves(tree) if node.leaf is not None and node.leaf.name == subjects.class_name
    )
