"""Remote control, the worker's side: `mailbox` reads requests and sends answers, `commands` does what they ask.

A command is a function under `@control_command`; adding one is adding a function to a module that `commands` imports.
"""

from umbel.worker.control import commands
from umbel.worker.control.mailbox import Mailbox
from umbel.worker.control.panel import PANEL, WorkerState, control_command

__all__ = ["PANEL", "Mailbox", "WorkerState", "commands", "control_command"]
