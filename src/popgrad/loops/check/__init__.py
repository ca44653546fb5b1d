"""Check of a task: short segments, trained in several ways that must give equal bits."""

from popgrad.loops.check.api import check as check
from popgrad.loops.check.finding import Finding as Finding
from popgrad.loops.check.leak import leaks as leaks
