"""The policy rules of RBAC that the product needs, once. May import: kube.client.resources.

In: nothing.  Out: the roles written to deploy/, what an identity lacks (in access.py), and the words for it.
Least privilege: a verb stands here because a line of ours sends it. What `reconciler crds apply` and `remove` need
stands apart: a person runs them, the reconciler does not.
"""

from typing import Final, NamedTuple

from reconciler.kube.client.resources import CRDS, EVENTS, KEPT, LEASES, NAMESPACES, OURS


class PolicyRule(NamedTuple):
    """Verbs on one resource, `plural` or `plural/sub`. group: "" is the core group. why: what for, in a few words.

    optional: all else goes on without it.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    namespaced: bool = False  # needed in one namespace only
    why: str = ""
    optional: bool = False

    def yaml(self) -> str:
        """As one line of a Role's rules."""
        return f'{{apiGroups: ["{self.group}"], resources: ["{self.resource}"], verbs: [{", ".join(self.verbs)}]}}'

    def fix(self, home: str = "") -> str:
        """How it is granted: by the roles that are bound to the hub's account; the rule itself to anybody else.

        home: the namespace that the hub runs in, where it is known.
        """
        place = f" --namespace {home}" if home else ""
        roles = f"`reconciler crds roles{place} | kubectl apply -f -` grants it to the hub's account; "
        else_ = f"{self.yaml()} in a role bound to whoever asks"
        return f"{roles}anybody else needs {else_}" if self._is_in(RULES) or self._is_in(HOME) else f"put {else_}"

    def _is_in(self, rules: "tuple[PolicyRule, ...]") -> bool:
        """Whether one of `rules` grants it."""
        mine = set(self.verbs)
        return any((one.group, one.resource) == (self.group, self.resource) and mine <= {*one.verbs} for one in rules)


_OBJECTS: Final = ("get", "list", "watch", "create", "patch", "delete")

RULES: Final = (
    *(
        PolicyRule(
            resource.group,
            resource.plural,
            _OBJECTS,
            why=f"to keep {resource.kind} objects as Git says",
            optional=name not in OURS,
        )
        for name, resource in KEPT.items()
    ),
    *(
        PolicyRule(resource.group, f"{resource.plural}/status", ("patch",), why="to say how they are")
        for resource in OURS.values()
    ),
    PolicyRule(EVENTS.group, EVENTS.plural, ("create", "patch"), why="to tell of changes in `kubectl get events`"),
    PolicyRule(NAMESPACES.group, NAMESPACES.plural, ("get",), why="to know this cluster from another one"),
    PolicyRule(CRDS.group, CRDS.plural, ("get",), why="to see whether the kinds are installed and current"),
)
HOME: Final = (
    PolicyRule(
        LEASES.group, LEASES.plural, ("get", "create", "update"), namespaced=True, why="so that one alone writes"
    ),
)
INSTALLER: Final = (
    PolicyRule(
        CRDS.group, CRDS.plural, ("get", "list", "watch", "create", "patch", "delete"), why="to install the kinds"
    ),
    *(
        PolicyRule(resource.group, resource.plural, ("list",), why="to see what a removal or a tightening would lose")
        for resource in OURS.values()
    ),
)
OPERATOR: Final = (
    PolicyRule("", "pods", ("get", "list"), namespaced=True, why="to find the hub"),
    PolicyRule("", "pods/portforward", ("create", "get"), namespaced=True, why="to read from the hub"),
    PolicyRule("", "pods/exec", ("create", "get"), namespaced=True, why="to give the hub an order"),
)
