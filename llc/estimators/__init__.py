"""Draws into values with standard errors and verdicts, and the choices that no user need make."""
