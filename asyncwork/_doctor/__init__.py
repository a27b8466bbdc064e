"""Diagnose a namespace and repair it."""
