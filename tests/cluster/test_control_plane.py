"""The control plane that the other tests here stand on."""

from tests.control_plane.plane import ControlPlane


def test_it_starts_with_our_kinds_and_none_of_our_objects(cluster: ControlPlane) -> None:
    assert cluster.get("/apis/ai.kubeedge.io/v1alpha1/inferencemodels")["items"] == []


def test_a_user_without_the_right_is_refused(control_plane: ControlPlane) -> None:
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]}
    user = control_plane.client(control_plane.kubeconfig_for("lister", rule))
    assert user.request("GET", "/api/v1/namespaces")[0] == 200
    status, refused = user.request("POST", "/api/v1/namespaces", {"metadata": {"name": "no"}})
    assert (status, refused["reason"]) == (403, "Forbidden")


def test_each_call_is_counted_once(control_plane: ControlPlane) -> None:
    before = control_plane.calls()
    namespace = control_plane.fresh_namespace()
    control_plane.get(f"/api/v1/namespaces/{namespace}")
    since = control_plane.calls() - before
    assert (since["POST", "namespaces"], since["GET", "namespaces"]) == (1, 1)
