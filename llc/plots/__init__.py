"""Draws into pictures."""
