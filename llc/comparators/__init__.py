"""Every complexity measure of one checkpoint in the same units, one theory a file, beside what was measured."""
