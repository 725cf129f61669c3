"""Stress and soak: many processes publish and subscribe at once, and die."""
