"""A real Kubernetes control plane for tests and benchmarks, on loopback, thrown away afterwards.

choice.py says which one a machine gets, programs.py builds the programs once, process.py runs and ends them,
local.py starts etcd and kube-apiserver, plane.py is what tests see, fixtures.py are the pytest fixtures.
"""
