"""Rights that are cut: said once, asked for until they are back."""

import threading
from collections.abc import Iterator

from reconciler.errors import ApiUnavailable, RightMissing
from reconciler.kube.client.rights import PolicyRule
from reconciler.kube.write.denials import Denials


def denial(verb: str, resource: str) -> RightMissing:
    found = RightMissing(f"may not {verb} {resource}")
    found.right = PolicyRule("ai.kubeedge.io", resource, (verb,)), "default"
    return found


def test_a_right_is_said_once_and_again_when_it_is_back() -> None:
    told: list[tuple[str, bool]] = []
    answers: Iterator[bool | ApiUnavailable] = iter([ApiUnavailable("away"), True, False])
    back = threading.Event()

    def lacks(rule: PolicyRule, namespace: str) -> bool:
        assert (rule.verbs, namespace) == (("patch",), "default")
        answer = next(answers)
        if isinstance(answer, ApiUnavailable):
            raise answer
        return answer

    def tell(right: str, missing: RightMissing | None) -> None:
        told.append((right, missing is not None))
        if missing is None:
            back.set()

    denials = Denials(lacks, tell)
    for _ in range(3):
        denials.heard(denial("patch", "edges/status"))
    assert back.wait(60)
    denials.close()
    assert told == [("the right to patch edges/status", True), ("the right to patch edges/status", False)]


def test_nothing_is_told_after_the_end() -> None:
    told: list[str] = []
    denials = Denials(lambda *_: False, lambda right, _: told.append(right))
    denials.heard(denial("delete", "models"))
    denials.close()
    denials.close()
    denials.heard(denial("patch", "models"))
    assert told == ["the right to delete models"]
