"""The words that status and conditions say: what each means, and what it needs. Imports standing, conditions.

In: nothing.  Out: the table, to `reconciler explain` and docs/phases.md. What says a new word adds its row: a test
reads the words out of the code.
"""

from dataclasses import dataclass
from typing import Final

from reconciler.history import conditions as said
from reconciler.history.standing import AS_GIT, FAILING, WAITS

NOTHING: Final = "nothing"
STANDING, ON_EDGE, IN_CLUSTER, CONDITION, REASON = "standing", "phase", "phase of an object", "condition", "reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word. of: which of the groups below has it.  needs: what a person does, `nothing` where it goes on alone."""

    word: str
    of: str
    meaning: str
    needs: str = NOTHING


def _words(of: str, *rows: tuple[str, str, str]) -> tuple[Word, ...]:
    return tuple(Word(word=word, of=of, meaning=meaning, needs=needs) for word, meaning, needs in rows)


_READ: Final = "read its message: it names the cause and the command"
_PUSH: Final = "mend the line that it names, commit and push"

VOCABULARY: Final[tuple[Word, ...]] = (
    *_words(
        STANDING,
        (AS_GIT, "What Git wants is so, and nothing stands against it.", NOTHING),
        (WAITS, "It is on its way, or something holds it: the message says what, and until when.", _READ),
        (FAILING, "What was ordered was refused, or what serves does not answer as it should.", _READ),
    ),
    *_words(
        ON_EDGE,
        ("Desired", "It is ordered, and its edge has not begun.", NOTHING),
        (
            "Retrying",
            "A server or a runtime did not answer the edge. The message says why, and when it goes on.",
            f"{NOTHING}; `reconciler reconcile EDGE MODEL` has it tried now",
        ),
        ("Downloading", "The edge fetches the bytes; what breaks off goes on where it was.", NOTHING),
        ("Verified", "The bytes are whole, and have the sha256 that Git pinned.", NOTHING),
        ("Staged", "It is unpacked on the edge, beside the version that serves.", NOTHING),
        ("Active", "The edge has switched to it, and has not yet said that the order is done.", NOTHING),
        ("Committed", "The edge has what was ordered, asked it the golden questions, and said so.", NOTHING),
        (
            "Rejected",
            "The edge refused it, and serves on what it had. The message begins with the code of the reason.",
            "`reconciler explain CODE`; publish a new version, or mend what is in the way: it is tried again",
        ),
        (
            "RolledBack",
            "It served, answered the golden questions wrongly or ended, and the edge went back to the version before.",
            "publish a version that answers rightly; `reconciler release EDGE MODEL` tries this one once more",
        ),
        (
            "Degraded",
            "What served has ended or answers no more; its edge starts it again, later each time.",
            "where it stays: read `runtime.log` in `edges/EDGE/services` below the state directory",
        ),
        (
            "Waiting",
            "Git wants a change that is not ordered: a suspension, a freeze, a held plan or a quarantine stops it.",
            "what the message names: to resume, approve or release it, or to wait for the end of the freeze",
        ),
        (
            "Unknown",
            "The edge is not heard, since the time that is shown; what it served last stands with a question mark.",
            "look whether the edge runs and is reached; it goes on serving alone",
        ),
    ),
    *_words(
        IN_CLUSTER,
        ("Desired", "It was sent to the API server, and there is no answer yet.", NOTHING),
        ("Committed", "The API server has it as it was sent.", NOTHING),
        (
            "Rejected",
            "The API server, its schema, a quota or a webhook refused it.",
            "mend what the message names; it is tried again by itself, or now by `reconciler reconcile KIND/NAME`",
        ),
        ("Waiting", "Git wants a change that is not sent: as on an edge.", "what the message names"),
        (
            "Drifted",
            "Somebody changed it by hand, and a drift rule of the Fleet lets that stand, or the two fight over it.",
            "undo it, take it up in Git, or let a drift rule say `correct` or `ignore`",
        ),
    ),
    *_words(
        CONDITION,
        ("Ready", "Whether it is as Git says and serves; Unknown where nothing was heard.", "read its reason"),
        ("Reconciling", "It is being worked on. It stands only while that is so.", NOTHING),
        ("Stalled", "It goes on only when somebody acts. It stands only while that is so.", "read its reason"),
    ),
    *_words(
        REASON,
        (said.SUCCEEDED, "It is as Git says.", NOTHING),
        (said.APPLIED, "It is as Git says, and nothing was heard of it from an edge.", NOTHING),
        (said.PROGRESSING, "It is on its way.", NOTHING),
        (said.RETRYING, "It failed and is tried again by itself.", NOTHING),
        (said.SUSPENDED, "A suspension or a freeze holds it.", "`reconciler resume`, or the end of the freeze"),
        (
            said.DEPENDENCY,
            "Its edge, or the branch that is followed, cannot be read.",
            "look whether the edge runs, or whether `git ls-remote` answers",
        ),
        (said.BUILD_FAILED, "A document in Git is wrong; what stood before stays in force.", _PUSH),
        (said.UNHEALTHY, "What serves on the edge has ended or answers no more.", "see the phase Degraded"),
        (
            said.CONFLICT,
            "Another writer has a field of it.",
            "stop one of the two, or let a drift rule of the Fleet say who has the field",
        ),
        (
            said.DRIFT_REPORTED,
            "It was changed by hand, and a drift rule lets that stand.",
            "undo it, or take it up in Git",
        ),
        (
            said.NOT_FROM_GIT,
            "It was made by hand, of a kind that only counts from Git.",
            "declare it in the repository, or delete it",
        ),
        (
            said.PLAN_HELD,
            "The plan of the newest commit waits for a person.",
            "`reconciler plan` shows it, `reconciler approve DIGEST` releases it",
        ),
        (said.REJECTED, "Its edge refused the wanted version.", "see the phase Rejected"),
        (said.ROLLED_BACK, "Its edge went back from the wanted version.", "see the phase RolledBack"),
        (said.FAILED, "It, or some of what it sums up, was refused.", _READ),
    ),
)


def words_like(text: str) -> list[Word]:
    """The rows of a word, however it is written; a phase before a reason of the same name."""
    return [one for one in VOCABULARY if one.word.lower() == text.lower()]
