"""Runs one delivered task, from its bytes to its outcome.

1. `_read`: which task, its request, arguments and embed. What cannot be read or run here goes to the dead letters.
2. `_execute`: signals, hooks, STARTED, the body; the exception it raised decides which of the next is taken.
3. `_succeed`, `_fail`, `_retry`, `_ignore`, `_reject`: one outcome is reported to the main process, made of the
   message's disposition, the record to store and the messages to publish, so that all happen in one step. Hooks,
   signals and the log line come after.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, cast

from umbel import _current, _native, signals
from umbel.backends.opening import is_native
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    Ignore,
    InvalidTaskError,
    NotRegistered,
    Reject,
    Retry,
    SerializerNotInstalled,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    WorkerShutdown,
    WorkerTerminate,
    safe_repr,
    safe_str,
)
from umbel.execution.chords import ChordParts, fail_signature
from umbel.execution.failure import ExceptionInfo, Revoked, clear_frames
from umbel.execution.follow_ups import FollowUps, call_errbacks, malformed
from umbel.execution.forks import end_fork, fork_count
from umbel.execution.node import WorkerNode
from umbel.execution.report import log_failure, log_ignored, log_rejected, log_retry, log_success, logger
from umbel.execution.runner import TaskRunner
from umbel.execution.storing import StoringLink
from umbel.serialization import accepted, loads
from umbel.serialization.compression import decompress
from umbel.task import Context

if TYPE_CHECKING:
    from umbel._interfaces import AppInterface, RecordWriter
    from umbel._native import ChildLink, Job
    from umbel.execution.batches import Call

__all__ = ["Tracer"]

_JSON = "application/json"
_INFO = 20
_UNREGISTERED = "unregistered"
_NO_RESULTS = (None, "", "disabled", "disabled://")
#: Of a reason given for a dead letter; what is longer is cut.
_LONGEST_REASON = 10_000
#: A task that raises one of these means the process it runs in.
_LEAVE = (KeyboardInterrupt, WorkerShutdown, WorkerTerminate)


class _Unreadable(Exception):
    """The message can never be run here; `kind` and text say why, for the dead letters."""

    def __init__(self, kind: str, reason: str, error: BaseException | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.error = error


class Tracer:
    """Runs jobs of one application for one worker node. Thread-safe: state is kept in the request."""

    def __init__(self, app: AppInterface, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._node = WorkerNode(app, hostname)
        self._tasks = app.tasks
        self._runners: dict[str, TaskRunner] = {}
        conf = app.conf
        self._accept = accepted(conf.accept_content)
        self._format: RecordWriter | None = None
        self._stores_here = False
        self._chords: ChordParts | None = None
        self._polls_chords = False
        if conf.result_backend not in _NO_RESULTS:
            self._format = app.results.format
            self._stores_here = not is_native(conf.result_backend)
            self._chords = ChordParts(app, self._format)
            self._polls_chords = not app.results.counts_chords

    def run(self, job: Job, link: ChildLink) -> None:
        """Runs the job and reports its outcome to the link, exactly once, whatever the task and its hooks raise.

        Raises what a task raises to end its process (KeyboardInterrupt, WorkerShutdown), after the report.
        """
        accepted = self._accepted(job, self._storing_link(link) if self._stores_here else link)
        if accepted is None:
            for companion in link.companions(job):
                self.run(companion, link)
            return
        runner, request, args, kwargs = accepted
        if runner.batches:
            from umbel.execution.batches import BatchRun, Call  # Few programs have such tasks.

            BatchRun.of(self, Call(runner, request, args, kwargs), job, link).run()
            return
        token = _current.push_request(request)
        try:
            self._execute(runner, request, args, kwargs)
        except BaseException as error:
            self._mend(runner, request, error)
        finally:
            _current.pop_request(token)

    def accept(self, job: Job, link: ChildLink) -> tuple[TaskRunner, Context, Any, Any] | None:
        """One of a batch to run; None if it cannot be, which has been reported."""
        return self._accepted(job, self._storing_link(link) if self._stores_here else link)

    def _storing_link(self, link: ChildLink) -> ChildLink:
        return cast("ChildLink", StoringLink(link, self._app.client))

    def _accepted(self, job: Job, link: ChildLink) -> tuple[TaskRunner, Context, Any, Any] | None:
        """What to run; None if that cannot be, which has been reported."""
        try:
            accepted = self._read(job)
        except _Unreadable as error:
            self._refuse(job, link, error)
            return None
        except BaseException as error:
            # Code of the application ran: a task class, a decoder of a type of its own. Or the soft limit passed.
            self._refuse(job, link, _Unreadable("internal-error", safe_repr(error), error))
            if isinstance(error, _LEAVE):
                link.flush()
                raise
            return None
        accepted[1].link = link
        return accepted

    def _mend(self, runner: TaskRunner, request: Context, error: BaseException) -> None:
        """Sees to it that there is an outcome although `_execute` raised this, which is being handled."""
        if isinstance(error, SoftTimeLimitExceeded):
            # The limit passed between the end of the body and the report.
            if request.reported:
                raise
            try:
                self._fail(runner, request, error)
            except BaseException as another:
                self._internal_error(runner, request, another)
        elif isinstance(error, _LEAVE):
            if not request.reported:
                self._internal_error(runner, request, error)
            request.link.flush()
            raise
        elif isinstance(error, _native.ForkedError):
            end_fork(request.task, request.id, error)
        else:
            # Also SystemExit and the like, which receivers of signals may raise: the job must not be left without an
            # outcome, and its thread goes on.
            self._internal_error(runner, request, error)

    def begin(self, call: Call) -> None:
        """What comes before the body, of one call of a batch. Raises what hooks and receivers raise."""
        self._begin(call.runner, call.request, call.args, call.kwargs)

    def end(self, call: Call, result: Any, started: float) -> None:
        """Reports what one call of a batch came to: its result, or an exception."""
        runner, request = call.runner, call.request
        state: str | None = None
        try:
            if isinstance(result, BaseException):
                state = self._raised(runner, request, result)
            else:
                state, result = self._succeed(runner, request, result, started, fork_count())
            if runner.after_return is not None:
                self._after_return(runner, request, state, result)
        except BaseException as error:
            self._mend(runner, request, error)
        finally:
            self._over(runner, request, state, result)

    @staticmethod
    def leave_if_meant(request: Context, error: BaseException) -> None:
        """Raises what a task raises to end its process, once what was reported is written."""
        if isinstance(error, _LEAVE):
            request.link.flush()
            raise error

    def hard_limit(self, job: Job) -> float | None:
        """Of a job, seconds: what its message asks for, or its task."""
        task = self._tasks.get(job.task)
        limits = job.headers.get("timelimit") or (None, None)
        return limits[0] or (None if task is None else task.time_limit)

    # --- 1. read

    def _read(self, job: Job) -> tuple[TaskRunner, Context, Any, Any]:
        runner = self._runners.get(job.task) or self._new_runner(job.task)
        try:
            args, kwargs, embed = self._decode(job)
        except (ContentDisallowed, SerializerNotInstalled) as error:
            raise _Unreadable("not-accepted", str(error)) from error
        except (DecodeError, InvalidTaskError, _native.NativeError) as error:
            raise _Unreadable("undecodable", str(error)) from error
        request = Context.of_job(job, args, kwargs, self._hostname)
        request.task_object = runner.task
        if embed:
            self._take_embed(request, embed)
        return runner, request, args, kwargs

    def _new_runner(self, name: str) -> TaskRunner:
        task = self._tasks.get(name)
        if task is None:
            raise _Unreadable(
                _UNREGISTERED,
                f"no task {name!r} is registered here; is its module in `imports`, or autodiscovered?",
                NotRegistered(name),
            )
        runner = self._runners[name] = TaskRunner(task)
        return runner

    def _decode(self, job: Job) -> tuple[Any, Any, Any]:
        content_type = job.content_type
        compression = job.compression
        if compression is None and content_type == _JSON and _JSON in self._accept:
            try:
                args, kwargs, embed = job.decode_json()
            except SoftTimeLimitExceeded:
                raise
            except Exception as error:
                raise DecodeError(f"the body is no task in JSON: {error}") from error
        else:
            body = job.body if compression is None else decompress(job.body, compression)
            args, kwargs, embed = _sort_body(loads(body, content_type, job.content_encoding, self._accept))
        if not isinstance(kwargs, dict):
            raise InvalidTaskError(f"keyword arguments are a {type(kwargs).__name__}, not a map")
        if not isinstance(args, (list, tuple)):
            raise InvalidTaskError(f"arguments are a {type(args).__name__}, not a list")
        return args, kwargs, embed

    def _take_embed(self, request: Context, embed: Any) -> None:
        if not isinstance(embed, dict):
            raise _Unreadable("undecodable", f"the embedded options are a {type(embed).__name__}, not a map")
        if not any(embed.values()):
            return
        why = malformed(embed)
        if why:
            raise _Unreadable("undecodable", why)
        request.chord = embed.get("chord")
        request.callbacks = embed.get("callbacks")
        request.errbacks = embed.get("errbacks")
        request.chain = embed.get("chain")

    def _refuse(self, job: Job, link: ChildLink, refusal: _Unreadable) -> None:
        """To the dead letters. An unknown task is a failure its caller hears of; others store nothing."""
        record = expires = None
        if refusal.error is not None and self._format is not None:
            record = self._refusal_record(self._format, job, refusal.error)
            expires = self._format.expires_for("FAILURE")
        logger.error("Message %s of task %s goes to the dead letters: %s", job.id, job.task, refusal)
        link.finish(job, "FAILURE", "reject", record, expires, (), _cut(safe_str(refusal)), kind=refusal.kind)
        if refusal.kind == _UNREGISTERED and signals.task_unknown.receivers:
            signals.task_unknown.send(sender=self._node, message=job, exc=refusal.error, name=job.task, id=job.id)
        elif signals.task_rejected.receivers:
            signals.task_rejected.send(sender=self._node, message=job, exc=refusal)

    @staticmethod
    def _refusal_record(format: RecordWriter, job: Job, error: BaseException) -> bytes:
        try:
            return format.write(job.id, "FAILURE", error, request=Context(job.headers))
        except Exception:
            # The headers may be what could not be read, or what a record cannot hold.
            return format.write(job.id, "FAILURE", error)

    # --- 2. execute

    def _execute(self, runner: TaskRunner, request: Context, args: Any, kwargs: Any) -> None:
        request.started = started = time.monotonic()
        value: Any = None
        state: str | None = None
        forks = fork_count()
        try:
            try:
                self._begin(runner, request, args, kwargs)
                value = runner.call(*args, **kwargs)
            except BaseException as error:
                value = error
                state = self._body_raised(runner, request, error, forks)
            else:
                state, value = self._succeed(runner, request, value, started, forks)
            if runner.after_return is not None:
                self._after_return(runner, request, state, value)
        finally:
            self._over(runner, request, state, value)

    def _begin(self, runner: TaskRunner, request: Context, args: Any, kwargs: Any) -> None:
        """What comes before the body."""
        if signals.task_prerun.receivers:
            task = runner.task
            signals.task_prerun.send(sender=task, task_id=request.id, task=task, args=args, kwargs=kwargs)
        if runner.track_started:
            self._store_started(runner, request)
        if runner.before_start is not None:
            runner.before_start(request.id, args, kwargs)

    def _body_raised(self, runner: TaskRunner, request: Context, error: BaseException, forks: int) -> str:
        """Reports what the body raised, which is being handled; `forks` were counted when it began."""
        if fork_count() != forks:
            end_fork(request.task, request.id, error)
        if isinstance(error, MemoryError):
            # What the frames hold is what there is too much of; the report needs some.
            clear_frames(error)
        state = self._raised(runner, request, error)
        if isinstance(error, _LEAVE):
            request.link.flush()
            raise
        return state

    @staticmethod
    def _over(runner: TaskRunner, request: Context, state: str | None, value: Any) -> None:
        """What comes last, however it went."""
        if signals.task_postrun.receivers:
            task = runner.task
            signals.task_postrun.send(
                sender=task, task_id=request.id, task=task, args=request.args, kwargs=request.kwargs, retval=value,
                state=state,
            )  # fmt: skip
        if isinstance(value, BaseException) and value.__traceback__ is not None:
            clear_frames(value)

    def _store_started(self, runner: TaskRunner, request: Context) -> None:
        if self._format is None or self._ignores_result(runner, request):
            return
        meta = {"pid": os.getpid(), "hostname": self._hostname}
        attempts = request.attempts_to_tell("STARTED", self._app.now())
        record = self._format.write(request.id, "STARTED", meta, request=request, attempts=attempts)
        request.link.started(request.job, record, self._format.expires, state="STARTED")

    def _raised(self, runner: TaskRunner, request: Context, error: BaseException) -> str:
        if isinstance(error, Retry):
            return self._retry(runner, request, error)
        if isinstance(error, Reject):
            return self._reject(runner, request, error)
        if isinstance(error, Ignore):
            return self._ignore(runner, request)
        if isinstance(error, Revoked):
            return self._revoked(runner, request, error)
        return self._fail(runner, request, error)

    # --- 3. report

    def _succeed(self, runner: TaskRunner, request: Context, value: Any, started: float, forks: int) -> tuple[str, Any]:
        """Reports what the body returned, which began at `started` when there had been so many forks."""
        if fork_count() != forks:
            end_fork(request.task, request.id, None)
        publish: Any = request._follow_ups or ()
        children = [child.as_tuple() for child in request._children] if request._children else []
        record = expires = None
        try:
            if request.callbacks or request.chain:
                follow_ups = FollowUps(self._app, request)
                follow_ups.add_next(request, value)
                publish = [*publish, *follow_ups.messages]
                children += follow_ups.children
            if self._format is not None and not self._ignores_result(runner, request):
                attempts = None
                if request.retries or request.job.failed_deliveries:
                    attempts = request.attempts("SUCCESS", None, self._app.now())
                record = self._format.write(request.id, "SUCCESS", value, None, request, children, attempts)
                expires = self._format.expires
            if request.chord and self._chords is not None:
                publish = [*publish, *self._chords.of_request(request, "SUCCESS", value)]
        except EncodeError as error:
            return self._fail(runner, request, error), error
        self._report(request, "SUCCESS", "ack", record, expires, publish)
        runtime = time.monotonic() - started
        task = runner.task
        if runner.on_success is not None:
            self._call_hook("on_success", runner.on_success, request, value, request.id, request.args, request.kwargs)
        if signals.task_success.receivers:
            signals.task_success.send(sender=task, result=value, runtime=runtime)
        if logger.isEnabledFor(_INFO):
            log_success(task, request, value, runtime)
        return "SUCCESS", value

    def _fail(self, runner: TaskRunner, request: Context, error: BaseException) -> str:
        task = runner.task
        info = ExceptionInfo(error)
        record = expires = None
        if self._format is not None and (not self._ignores_result(runner, request) or runner.store_errors):
            record = self._failure_record(request, info)
            expires = self._format.expires_for("FAILURE")
        publish = list(request._follow_ups or ())
        publish += self._failed_after(request, info)
        self._report(request, "FAILURE", "ack", record, expires, publish, reason=safe_repr(error))
        if request.fails_for is None:
            self._tell_failure(runner, request, error, info)
        elif request.fails_for in self._tasks:
            self._tell_for_another(request, error, info)
        log_failure(task, request, info)
        return "FAILURE"

    def _tell_failure(self, runner: TaskRunner, request: Context, error: BaseException, info: ExceptionInfo) -> None:
        args, kwargs = request.args, request.kwargs
        if runner.on_failure is not None:
            self._call_hook("on_failure", runner.on_failure, request, error, request.id, args, kwargs, info)
        self._signal_failure(runner, request, error, info)

    @staticmethod
    def _signal_failure(runner: TaskRunner, request: Context, error: BaseException, info: ExceptionInfo) -> None:
        if signals.task_failure.receivers:
            signals.task_failure.send(
                sender=runner.task, task_id=request.id, exception=error, args=request.args, kwargs=request.kwargs,
                traceback=info.tb, einfo=info,
            )  # fmt: skip

    def _tell_for_another(self, request: Context, error: BaseException, info: ExceptionInfo) -> None:
        """Calls the hooks of the task whose process was killed or lost."""
        name: Any = request.fails_for
        runner = self._runners.get(name) or self._new_runner(name)
        request.update(task=name, task_object=runner.task)
        self._tell_failure(runner, request, error, info)
        if runner.after_return is not None:
            after, args, kwargs = runner.after_return, request.args, request.kwargs
            self._call_hook("after_return", after, request, "FAILURE", error, request.id, args, kwargs, None)

    def _failed_after(self, request: Context, info: ExceptionInfo) -> list[Any]:
        """Whoever waits for a later step of the chain, or for the chord this task is a part of, must hear of the
        failure. Returns messages: parts of chords, errbacks."""
        publish: list[Any] = []
        if request.chord and self._chords is not None:
            publish += self._chords.of_request(request, "FAILURE", info.exception)
        if request.chain and self._chords is not None:
            for step in reversed(request.chain):
                publish += fail_signature(self._app, request, step, info.exception, info.traceback)
        if request.errbacks:
            publish += call_errbacks(self._app, request, info)
        return publish

    def _failure_record(self, request: Context, info: ExceptionInfo) -> bytes:
        children = [child.as_tuple() for child in request._children] if request._children else []
        return self._exception_record(request, "FAILURE", info.exception, info.traceback, children)

    def _exception_record(
        self, request: Context, state: str, exception: BaseException, text: str | None, children: list[Any]
    ) -> bytes:
        assert self._format is not None
        attempts = request.attempts(state, safe_repr(exception), self._app.now())
        try:
            return self._format.write(request.id, state, exception, text, request, children, attempts)
        except EncodeError as error:
            # Extended records hold the arguments, which pickle may carry and JSON may not; or all is too much.
            refused = error
        try:
            return self._format.write(request.id, state, refused, text)
        except EncodeError:
            return self._format.write(request.id, state, refused, None)

    def _retry(self, runner: TaskRunner, request: Context, retry: Retry) -> str:
        task = runner.task
        info = ExceptionInfo(retry)
        record = expires = None
        if self._format is not None and not self._ignores_result(runner, request):
            reason = retry.exc if retry.exc is not None else retry
            record = self._exception_record(request, "RETRY", reason, info.traceback, [])
            expires = self._format.expires
        self._report(request, "RETRY", "ack", record, expires, request._follow_ups or ())
        if runner.on_retry is not None:
            self._call_hook(
                "on_retry", runner.on_retry, request, retry.exc, request.id, request.args, request.kwargs, info
            )
        if signals.task_retry.receivers:
            signals.task_retry.send(sender=task, request=request, reason=retry, einfo=info)
        log_retry(task, request, retry)
        return "RETRY"

    def _ignore(self, runner: TaskRunner, request: Context) -> str:
        record = expires = None
        publish = list(request._follow_ups or ())
        if request.chord and not request.replaced and self._format is not None:
            # The chord would wait for ever for a member that is not going to have a result.
            info = ExceptionInfo(Ignore("the task was ignored"))
            record, expires = self._failure_record(request, info), self._format.expires_for("FAILURE")
            publish += self._failed_after(request, info)
        self._report(request, "IGNORED", "ack", record, expires, publish)
        log_ignored(runner.task, request)
        return "IGNORED"

    def _reject(self, runner: TaskRunner, request: Context, reject: Reject) -> str:
        """Back to the queue, or to the dead letters with the reason; the latter is a failure its caller hears of."""
        record = expires = None
        disposition = "requeue" if reject.requeue else "reject"
        reason = "" if reject.reason is None else safe_str(reject.reason)
        if not reject.requeue and self._format is not None and not self._ignores_result(runner, request):
            record = self._failure_record(request, _NoTraceback(reject))
            expires = self._format.expires_for("FAILURE")
        state = "REJECTED" if reject.requeue else "FAILURE"
        publish = [] if reject.requeue else self._failed_after(request, _NoTraceback(reject))
        self._report(request, state, disposition, record, expires, publish, reason)
        if signals.task_rejected.receivers:
            signals.task_rejected.send(sender=self._node, message=request.job, exc=reject)
        if not reject.requeue:
            self._signal_failure(runner, request, reject, _NoTraceback(reject))
        log_rejected(runner.task, request, reject)
        return "REJECTED"

    def _report(
        self,
        request: Context,
        state: str,
        disposition: Any,
        record: bytes | None,
        expires: float | None,
        publish: Any,
        reason: str = "",
        kind: str = "rejected",
    ) -> None:
        messages: Any = ()
        if publish:
            self._app.sender.bind(publish)
            messages = [prepared.message for prepared in publish]
        # Before the call: an interruption while it returns must not lead to a second report.
        request.reported = True
        try:
            request.link.finish(request.job, state, disposition, record, expires, messages, _cut(reason), kind=kind)
        except (_native.NativeError, TypeError, ValueError, MemoryError):
            # Refused, for example as too large: nothing has been sent.
            request.reported = False
            raise
        if publish:
            self._app.sender.announce(publish)

    def _internal_error(self, runner: TaskRunner, request: Context, error: BaseException) -> None:
        """Something went wrong that is not the task's doing: a dead letter, and a failure if that can be told."""
        try:
            self._tell_internal_error(runner, request, error)
        except BaseException:
            logger.critical("The internal error of task %s cannot be told", request.id, exc_info=True)
        if not request.reported:
            # The least there is to say; that much must not fail.
            request.reported = True
            detail = "its outcome could not be reported; see the worker's log"
            request.link.finish(request.job, "FAILURE", "reject", None, None, (), detail, kind="internal-error")

    def _tell_internal_error(self, runner: TaskRunner, request: Context, error: BaseException) -> None:
        logger.critical("Task %s[%s] INTERNAL ERROR: %s", request.task, request.id, safe_repr(error), exc_info=error)
        if signals.task_internal_error.receivers:
            info = ExceptionInfo(error, internal=True)
            signals.task_internal_error.send(
                sender=runner.task, task_id=request.id, args=request.args, kwargs=request.kwargs, request=request,
                exception=error, traceback=info.tb, einfo=info,
            )  # fmt: skip
        if request.reported:
            return
        record = expires = None
        publish: list[Any] = []
        if self._format is not None:
            try:
                info = ExceptionInfo(error, internal=True)
                record = self._failure_record(request, info)
                expires = self._format.expires_for("FAILURE")
                publish = self._failed_after(request, info)
            except BaseException:
                logger.exception("The failure of task %s cannot be written", request.id)
        self._report(request, "FAILURE", "reject", record, expires, publish, safe_repr(error), kind="internal-error")

    def _revoked(self, runner: TaskRunner, request: Context, error: Revoked) -> str:
        record = expires = None
        plain = TaskRevokedError(*error.args)
        if self._format is not None and not self._ignores_result(runner, request):
            record = self._exception_record(request, "REVOKED", plain, None, [])
            expires = self._format.expires_for("REVOKED")
        publish = self._failed_after(request, _NoTraceback(plain))
        self._report(request, "REVOKED", "ack", record, expires, publish)
        logger.info("Discarding revoked task: %s[%s], which ran", request.task, request.id)
        if signals.task_revoked.receivers:
            task, context = runner.task, request
            signals.task_revoked.send(sender=task, request=context, terminated=True, signum=None, expired=False)
        return "REVOKED"

    def _after_return(self, runner: TaskRunner, request: Context, state: str | None, value: Any) -> None:
        if state in ("SUCCESS", "FAILURE"):
            args, kwargs = request.args, request.kwargs
            self._call_hook("after_return", runner.after_return, request, state, value, request.id, args, kwargs, None)

    def _ignores_result(self, runner: TaskRunner, request: Context) -> bool:
        """Whether nobody wants to know what the task returns; a chord does that looks for the results themselves."""
        wish = request.ignore_result
        ignores = runner.ignore_result if wish is None else bool(wish)
        return ignores and not (self._polls_chords and request.chord)

    @staticmethod
    def _call_hook(name: str, hook: Any, request: Context, *args: Any) -> None:
        """The outcome is reported already, so an error in a hook is logged and changes nothing."""
        try:
            hook(*args)
        except _LEAVE:
            raise
        except BaseException as error:
            logger.exception("Task %s[%s] %s handler raised: %s", request.task, request.id, name, safe_repr(error))


def _cut(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."


class _NoTraceback(ExceptionInfo):
    """A rejection is a decision: where it was taken is no news."""

    @property
    def traceback(self) -> Any:
        """None."""
        return None


def _sort_body(body: Any) -> tuple[Any, Any, Any]:
    """args, kwargs and embed of a decoded body: protocol 2's three elements, or the map of protocol 1."""
    if isinstance(body, dict):
        embed = {name: body.get(name) for name in ("callbacks", "errbacks", "chain", "chord")}
        return body.get("args") or (), body.get("kwargs") or {}, embed
    if isinstance(body, (list, tuple)) and len(body) == 3:
        return body[0], body[1], body[2]
    raise InvalidTaskError("the body is neither three elements nor a map")
