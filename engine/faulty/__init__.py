"""Faulty: a call in which things go wrong as `engine.faults` says, on a virtual clock and on a live line alike.

Theory of operation. A call is opened with recognisers, voices and models, and runs on loops. Here each of the former is
wrapped at its contract (`vendors`), so that what a vendor says passes a *link* on its way and may be held, changed or
cut there; and the loops ask, at each step, whether it is theirs to fail (`call`). What passes is also what moments are
judged by: a fault becomes a trigger (`trigger`), which is told of turns, events and the time; when its moment has come,
the injector (`injector`) strikes, and writes it down (`report`). A call without faults is made of none of this.
"""

from engine.faulty.call import FaultBoard, FaultyCall
from engine.faulty.injector import InjectedError, Injector
from engine.faulty.report import Happened, Report

__all__ = ["FaultBoard", "FaultyCall", "Happened", "InjectedError", "Injector", "Report"]
