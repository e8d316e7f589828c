"""Keeping one edge: store, slots, activation, supervision; life without a network. Reaches no Git and no Kubernetes."""
