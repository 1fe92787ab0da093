"""The table of all settings: name, type, default, what it does, old upper-case name.

One line a setting. `celery=` is given where our default differs on purpose (`docs/celery-parity.md` has the
reasons); `defaults = "celery"` brings those values back. The third word is the status:

* `NOW` is in force,
* `LATER` is accepted and checked, and takes effect with the part of Umbel it belongs to,
* `NONE` is accepted so that a Celery configuration loads; Umbel has nothing it could change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

__all__ = ["LATER", "NONE", "NOW", "OLD_NAMES", "SETTINGS", "Setting", "Status", "Type"]

Type = Literal["any", "bool", "dict", "float", "int", "list", "seconds", "str", "tuple"]
Status = Literal["now", "later", "none"]

NOW: Final = "now"
LATER: Final = "later"
NONE: Final = "none"


class _Same:
    """Celery's default is ours."""

    def __repr__(self) -> str:
        return "SAME"


_SAME: Final = _Same()


class Setting(NamedTuple):
    """One setting. `seconds` are floats that may also be given as a timedelta."""

    name: str
    type: Type
    status: Status
    default: Any
    doc: str
    celery: Any = _SAME
    old: tuple[str, ...] = ()

    @property
    def celery_default(self) -> Any:
        """What Celery 5.7 has as its default (for settings of our own: what makes us behave like it)."""
        return self.default if self.celery is _SAME else self.celery

    @property
    def old_names(self) -> tuple[str, ...]:
        """The upper-case names of Celery 3, kept readable."""
        if self.old:
            return self.old
        for prefix, replacement in _OLD_PREFIXES:
            if self.name.startswith(prefix):
                return ((replacement + self.name[len(prefix) :]).upper(),)
        return (self.name.upper(),)


#: Where the upper-case name is not simply the name in capitals.
_OLD_PREFIXES = (
    ("task_", "celery_"),
    ("worker_", "celeryd_"),
    ("beat_", "celerybeat_"),
    ("arangodb_", "celery_arangodb_"),
    ("cache_", "celery_cache_"),
    ("couchbase_", "celery_couchbase_"),
    ("elasticsearch_", "celery_elasticsearch_"),
    ("event_", "celery_event_"),
    ("mongodb_", "celery_mongodb_"),
    ("redis_", "celery_redis_"),
    ("result_", "celery_result_"),
    ("security_", "celery_security_"),
    ("accept_content", "celery_accept_content"),
    ("imports", "celery_imports"),
    ("include", "celery_include"),
    ("timezone", "celery_timezone"),
)

S = Setting
_TABLE: tuple[Setting, ...] = (
    # general
    S("defaults", "str", NOW, "umbel", "Whose defaults apply where the two differ: `umbel` or `celery`."),
    S("accept_content", "list", NOW, ["json"], "Serializers accepted in tasks, as names or MIME types."),
    S("result_accept_content", "list", NOW, None, "Serializers accepted in results; None: `accept_content`.",
      old=("RESULT_ACCEPT_CONTENT",)),
    S("enable_utc", "bool", NOW, True, "Without `timezone`: moments are written in UTC, not local time."),
    S("imports", "tuple", NOW, (), "Modules the worker imports when it starts."),
    S("include", "tuple", NOW, (), "More modules to import, after `imports`."),
    S("timezone", "any", NOW, None, "Name of the time zone of moments we write and of naive ones we read."),
    # beat
    S("beat_schedule", "dict", LATER, {}, "Periodic tasks: name to entry."),
    S("beat_scheduler", "str", LATER, "umbel.beat:PersistentScheduler", "Scheduler class.",
      celery="celery.beat:PersistentScheduler"),
    S("beat_schedule_filename", "str", LATER, "celerybeat-schedule", "Where last run times are kept."),
    S("beat_sync_every", "int", LATER, 0, "Tasks sent between two saves of the schedule; 0: by time."),
    S("beat_max_loop_interval", "seconds", LATER, 0, "Longest pause of the scheduler's loop; 0: its own choice."),
    S("beat_cron_starting_deadline", "int", LATER, None, "Seconds after which a missed crontab run is skipped."),
    S("beat_enable_remote_control", "bool", LATER, False, "Beat answers remote control commands."),
    S("beat_remote_control_max_tick_age", "seconds", LATER, None, "Age of the last tick at which beat is stuck."),
    # broker
    S("broker_url", "any", NOW, None, "Where messages go; a list or `;` separates alternates. None: a SQLite file."),
    S("broker_read_url", "any", NOW, None, "Broker to consume from, if another than `broker_url`."),
    S("broker_write_url", "any", NOW, None, "Broker to publish to, if another than `broker_url`."),
    S("broker_transport", "str", NOW, None, "Scheme of a broker given by `broker_host`."),
    S("broker_transport_options", "dict", NOW, {}, "Options of the transport, such as `global_keyprefix`."),
    S("broker_connection_timeout", "seconds", NOW, 4, "Longest wait for one attempt to reach the broker."),
    S("broker_connection_retry", "bool", NOW, True, "Reconnect when the connection is lost."),
    S("broker_connection_retry_on_startup", "bool", NOW, True, "Also when the first attempt fails.", celery=None),
    S("broker_connection_max_retries", "int", NOW, 100, "Attempts in a row before giving up; None: for ever."),
    S("broker_channel_error_retry", "bool", NONE, False, "Retry on channel errors (always done)."),
    S("broker_failover_strategy", "str", LATER, None, "Order in which alternates are tried."),
    S("broker_heartbeat", "int", LATER, 120, "Seconds between AMQP heartbeats."),
    S("broker_heartbeat_checkrate", "float", LATER, 3.0, "Checks per heartbeat."),
    S("broker_login_method", "str", LATER, None, "AMQP login method."),
    S("broker_native_delayed_delivery_queue_type", "str", LATER, "quorum", "Queue type of RabbitMQ's delay queues."),
    S("broker_pool_limit", "int", NONE, 10, "Connections in the pool (one pipelined connection is enough here)."),
    S("broker_pool_acquire_timeout", "seconds", NONE, None, "Longest wait for a pooled connection."),
    S("broker_use_ssl", "any", NOW, False, "TLS options of the broker, or True."),
    S("broker_host", "str", NOW, None, "Host of the broker, when no `broker_url` is given."),
    S("broker_port", "int", NOW, None, "Port that goes with `broker_host`."),
    S("broker_user", "str", NOW, None, "User that goes with `broker_host`."),
    S("broker_password", "str", NOW, None, "Password that goes with `broker_host`."),
    S("broker_vhost", "str", NOW, None, "Virtual host or database that goes with `broker_host`."),
    # result stores
    S("result_backend", "str", NOW, None, "Where results go; None: nowhere, or the broker's own store if it has one."),
    S("result_backend_transport_options", "dict", NOW, {}, "Options of the store, such as `global_keyprefix`."),
    S("result_expires", "seconds", NOW, 86400.0, "Life of a result; None or 0: for ever.",
      old=("CELERY_TASK_RESULT_EXPIRES",)),
    S("result_failure_expires", "seconds", NOW, None, "Life of a failure, if another than `result_expires`."),
    S("result_chord_expires", "seconds", NOW, None, "Life of chord keys; None: `result_expires`."),
    S("result_serializer", "str", NOW, "json", "Serializer of results."),
    S("result_compression", "str", NOW, None, "Compression of results: zlib, gzip, bzip2 or zstd."),
    S("result_extended", "bool", NOW, False, "Results also hold name, args, kwargs, worker, retries and queue."),
    S("result_persistent", "bool", LATER, None, "rpc:// replies survive a broker restart."),
    S("result_cache_max", "int", NONE, -1, "Results a client caches (each result object holds its own).",
      old=("CELERY_MAX_CACHED_RESULTS",)),
    S("result_exchange", "str", LATER, "celeryresults", "Exchange of rpc:// results."),
    S("result_exchange_type", "str", LATER, "direct", "Its type."),
    S("result_chord_retry_interval", "seconds", NOW, 1.0, "Pause between polls of a polled chord."),
    S("result_chord_join_timeout", "seconds", NONE, 3.0, "Longest wait for a part when a chord is joined."),
    S("result_backend_always_retry", "bool", NONE, False, "Retry on store errors (always done, bounded)."),
    S("result_backend_max_retries", "float", NONE, float("inf"), "Attempts that go with it."),
    S("result_backend_max_sleep_between_retries_ms", "int", NONE, 10000, "Longest pause that goes with it."),
    S("result_backend_base_sleep_between_retries_ms", "int", NONE, 10, "First pause that goes with it."),
    S("redis_backend_use_ssl", "any", NOW, None, "TLS options of a Redis store, or True."),
    S("redis_db", "int", NOW, None, "Database, where `result_backend` is just `redis`."),
    S("redis_host", "str", NOW, None, "Host of a Redis store whose URL names none."),
    S("redis_port", "int", NOW, None, "Port of a Redis store whose URL names none."),
    S("redis_username", "str", NOW, None, "User of a Redis store whose URL names none."),
    S("redis_password", "str", NOW, None, "Password of a Redis store whose URL has none."),
    S("redis_max_connections", "int", NONE, None, "Size of the connection pool of a Redis store."),
    S("redis_socket_timeout", "seconds", NOW, 15.0, "Longest wait for a reply.", celery=120.0),
    S("redis_socket_connect_timeout", "seconds", NOW, None, "Longest wait for a connection; None: 5."),
    S("redis_retry_on_timeout", "bool", NONE, False, "Retry on timeouts (always done, bounded)."),
    S("redis_socket_keepalive", "bool", NOW, True, "TCP keepalive.", celery=False),
    S("cache_backend", "str", NOW, None, "Memcached URL."),
    S("cache_backend_options", "dict", NOW, {}, "Options of the memcached client."),
    S("cassandra_entry_ttl", "seconds", NOW, None, "Life of a row."),
    S("cassandra_keyspace", "str", NOW, None, "Keyspace."),
    S("cassandra_port", "any", NOW, None, "Port."),
    S("cassandra_read_consistency", "str", NOW, None, "Consistency of reads."),
    S("cassandra_servers", "list", NOW, None, "Hosts."),
    S("cassandra_bundle_path", "str", NOW, None, "Secure connect bundle."),
    S("cassandra_table", "str", NOW, None, "Table."),
    S("cassandra_write_consistency", "str", NOW, None, "Consistency of writes."),
    S("cassandra_auth_provider", "str", NOW, None, "Class that authenticates."),
    S("cassandra_auth_kwargs", "any", NOW, None, "Its arguments."),
    S("cassandra_options", "dict", NOW, {}, "Options of the driver."),
    S("s3_access_key_id", "str", NOW, None, "Key id of an S3 store."),
    S("s3_secret_access_key", "str", NOW, None, "Its secret."),
    S("s3_bucket", "str", NOW, None, "Bucket."),
    S("s3_base_path", "str", NOW, None, "Prefix of keys."),
    S("s3_endpoint_url", "str", NOW, None, "Address of a compatible service."),
    S("s3_region", "str", NOW, None, "Region."),
    S("azureblockblob_container_name", "str", NOW, "celery", "Container of an Azure store."),
    S("azureblockblob_retry_initial_backoff_sec", "int", NOW, 2, "First pause between attempts."),
    S("azureblockblob_retry_increment_base", "int", NOW, 2, "Its growth."),
    S("azureblockblob_retry_max_attempts", "int", NOW, 3, "Attempts."),
    S("azureblockblob_base_path", "str", NOW, "", "Prefix of blobs."),
    S("azureblockblob_connection_timeout", "int", NOW, 20, "Longest wait for a connection."),
    S("azureblockblob_read_timeout", "int", NOW, 120, "Longest wait for data."),
    S("gcs_bucket", "str", NOW, None, "Bucket of a Google Cloud Storage store."),
    S("gcs_project", "str", NOW, None, "Project."),
    S("gcs_base_path", "str", NOW, "", "Prefix of objects."),
    S("gcs_ttl", "seconds", NOW, 0, "Life of an object; 0: for ever."),
    S("couchbase_backend_settings", "dict", NOW, None, "Options of a Couchbase store."),
    S("arangodb_backend_settings", "dict", NOW, None, "Options of an ArangoDB store."),
    S("mongodb_backend_settings", "dict", NOW, None, "Options of a MongoDB store."),
    S("cosmosdbsql_database_name", "str", NOW, "celerydb", "Database of a Cosmos DB store."),
    S("cosmosdbsql_collection_name", "str", NOW, "celerycol", "Collection."),
    S("cosmosdbsql_consistency_level", "str", NOW, "Session", "Consistency."),
    S("cosmosdbsql_max_retry_attempts", "int", NOW, 9, "Attempts."),
    S("cosmosdbsql_max_retry_wait_time", "int", NOW, 30, "Longest wait, seconds."),
    S("elasticsearch_retry_on_timeout", "bool", NOW, None, "Retry on timeouts."),
    S("elasticsearch_max_retries", "int", NOW, None, "Attempts."),
    S("elasticsearch_timeout", "seconds", NOW, None, "Longest wait for a reply."),
    S("elasticsearch_save_meta_as_text", "bool", NOW, True, "Results as text rather than objects."),
    S("database_url", "str", NOW, None, "URL of an SQL result store.", old=("CELERY_RESULT_DBURI",)),
    S("database_engine_options", "dict", NOW, {"pool_pre_ping": True, "pool_recycle": 3600},
      "Options of SQLAlchemy's engine.", old=("CELERY_RESULT_ENGINE_OPTIONS",)),
    S("database_engine_callback", "any", NOW, None, "Called with the engine once it exists."),
    S("database_short_lived_sessions", "bool", NONE, False, "A new session for each operation.",
      old=("CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",)),
    S("database_table_schemas", "dict", NOW, None, "Schemas of the tables."),
    S("database_table_names", "dict", NOW, None, "Names of the tables.", old=("CELERY_RESULT_DB_TABLENAMES",)),
    S("database_create_tables_at_setup", "bool", NOW, True, "Create missing tables at start."),
    # remote control and events
    S("control_queue_ttl", "seconds", LATER, 300.0, "Life of a command in a worker's queue."),
    S("control_queue_expires", "seconds", LATER, 10.0, "Life of an unused command queue."),
    S("control_queue_exclusive", "bool", LATER, True, "Command queues belong to one connection."),
    S("control_queue_durable", "bool", LATER, False, "Command queues survive a broker restart."),
    S("control_exchange", "str", NOW, "celery", "Stem of the command exchanges."),
    S("revoke_expires", "seconds", NOW, 604_800.0, "How long the broker remembers that a task was revoked."),
    S("event_queue_expires", "seconds", LATER, 60.0, "Life of an unused event queue."),
    S("event_queue_ttl", "seconds", LATER, 5.0, "Life of an event in a queue."),
    S("event_queue_prefix", "str", LATER, "celeryev", "Stem of event queues."),
    S("event_queue_exclusive", "bool", LATER, True, "Event queues belong to one connection."),
    S("event_queue_durable", "bool", LATER, False, "Event queues survive a broker restart."),
    S("event_serializer", "str", LATER, "json", "Serializer of events."),
    S("event_exchange", "str", LATER, "celeryev", "Exchange of events."),
    # security
    S("security_certificate", "str", LATER, None, "Certificate that signs messages."),
    S("security_cert_store", "str", LATER, None, "Certificates that are trusted."),
    S("security_key", "str", LATER, None, "Private key that signs messages."),
    S("security_key_password", "any", LATER, None, "Its password, bytes."),
    S("security_digest", "str", LATER, "sha256", "Digest of signatures."),
    # tasks
    S("task_acks_late", "bool", NOW, True, "Acknowledge when the task has finished, not when it starts.", celery=False),
    S("task_acks_on_failure_or_timeout", "bool", NOW, True, "Older joint form of the next two."),
    S("task_acks_on_failure", "bool", NOW, None, "A task that raised is done; False: dead letters."),
    S("task_acks_on_timeout", "bool", NOW, None, "A task over its hard limit is done; False: back to the queue."),
    S("task_reject_on_worker_lost", "bool", NOW, True, "A task whose process died goes back.", celery=None),
    S("task_retry_on_worker_lost", "bool", LATER, False, "Such a task is sent again as a retry."),
    S("task_max_deliveries", "int", NOW, 5, "Deliveries that may kill their process, then: dead letters; None: any.",
      celery=None),
    S("task_always_eager", "bool", NOW, False, "`delay` runs the task in place and publishes nothing."),
    S("task_eager_propagates", "bool", NOW, False, "Eager tasks raise their exceptions.",
      old=("CELERY_EAGER_PROPAGATES_EXCEPTIONS",)),
    S("task_store_eager_result", "bool", NOW, False, "Eager tasks store results."),
    S("task_annotations", "any", NOW, None, "Changes to task attributes: `{name or '*': {attribute: value}}`."),
    S("task_compression", "str", NOW, None, "Compression of bodies: zlib, gzip, bzip2 or zstd.",
      old=("CELERY_MESSAGE_COMPRESSION",)),
    S("task_serializer", "str", NOW, "json", "Serializer of bodies.", old=("CELERY_TASK_SERIALIZER",)),
    S("task_protocol", "int", NOW, 2, "Message protocol to write; only 2 is written, 1 and 2 are read.",
      old=("CELERY_TASK_PROTOCOL",)),
    S("task_queues", "any", NOW, None, "Queues to consume from: Queue objects, or `{name: options}`."),
    S("task_queue_concurrency_limits", "dict", NOW, {},
      "Most tasks of a queue at a time, in all workers together: `{name: number}`."),
    S("task_routes", "any", NOW, None, "Which task goes to which queue."),
    S("task_create_missing_queues", "bool", NOW, True, "A queue that is named but not in `task_queues` is created."),
    S("task_create_missing_queue_type", "str", LATER, "classic", "RabbitMQ type of such queues."),
    S("task_create_missing_queue_exchange_type", "str", NOW, None, "Exchange type of such queues."),
    S("task_default_queue", "str", NOW, "celery", "Queue of tasks without a route."),
    S("task_default_queue_type", "str", LATER, "classic", "Its RabbitMQ type."),
    S("task_default_exchange", "str", NOW, None, "Its exchange; None: its name."),
    S("task_default_exchange_type", "str", NOW, "direct", "Type of that exchange."),
    S("task_default_routing_key", "str", NOW, None, "Its routing key; None: its name."),
    S("task_default_delivery_mode", "any", NOW, 2, "2 or `persistent`, 1 or `transient`."),
    S("task_default_priority", "int", NOW, None, "Priority of tasks that set none."),
    S("task_default_rate_limit", "any", NOW, None, "Rate limit of tasks that set none."),
    S("task_queue_max_priority", "int", LATER, None, "`x-max-priority` of RabbitMQ queues."),
    S("task_inherit_parent_priority", "bool", NOW, False, "Tasks sent by a task get its priority."),
    S("task_ignore_result", "bool", NOW, False, "Results are not stored."),
    S("task_store_errors_even_if_ignored", "bool", NOW, False, "Failures are stored nevertheless."),
    S("task_track_started", "bool", NOW, False, "Store STARTED when a task starts."),
    S("task_publish_retry", "bool", NOW, True, "Repeat a publish that failed.", old=("CELERY_TASK_PUBLISH_RETRY",)),
    S("task_publish_retry_policy", "dict", NOW,
      {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
      "How long to repeat it.", old=("CELERY_TASK_PUBLISH_RETRY_POLICY",)),
    S("task_remote_tracebacks", "bool", NOW, False, "Failures raised by `get` carry the remote traceback."),
    S("task_repr_maxlevels", "int", NONE, 3, "Nesting shown in `argsrepr`."),
    S("task_send_sent_event", "bool", LATER, False, "Send `task-sent` events.", old=("CELERY_SEND_TASK_SENT_EVENT",)),
    S("task_soft_time_limit", "seconds", NOW, None, "SoftTimeLimitExceeded is raised in a task after this time.",
      old=("CELERYD_TASK_SOFT_TIME_LIMIT",)),
    S("task_time_limit", "seconds", NOW, None, "A task is killed after this time.", old=("CELERYD_TASK_TIME_LIMIT",)),
    S("task_allow_error_cb_on_chord_header", "bool", NOW, False, "Chord errbacks are linked to the header as well."),
    # worker
    S("worker_agent", "str", NONE, None, "Actor framework of old."),
    S("worker_autoscaler", "str", NOW, "umbel.worker.autoscale:Autoscaler", "Class that scales the pool.",
      celery="celery.worker.autoscale:Autoscaler"),
    S("worker_cancel_long_running_tasks_on_connection_loss", "bool", LATER, False,
      "Give up running tasks when the broker is lost."),
    S("worker_concurrency", "any", NOW, None, "Tasks run at once; None or `auto`: CPUs this process may use."),
    S("worker_consumer", "str", NONE, "", "Consumer class.", celery="celery.worker.consumer:Consumer"),
    S("worker_deduplicate_successful_tasks", "bool", LATER, False, "Do not run again what has succeeded."),
    S("worker_detect_quorum_queues", "bool", LATER, True, "Adapt to quorum queues of RabbitMQ."),
    S("worker_direct", "bool", NOW, False, "Each worker has a queue of its own.", old=("CELERY_WORKER_DIRECT",)),
    S("worker_disable_prefetch", "bool", NOW, False, "Hold no message but those that run."),
    S("worker_disable_rate_limits", "bool", NOW, False, "Ignore rate limits.", old=("CELERY_DISABLE_RATE_LIMITS",)),
    S("worker_enable_prefetch_count_reduction", "bool", NONE, True, "Shrink the window after a reconnect."),
    S("worker_enable_remote_control", "bool", NOW, True, "Answer remote control commands.",
      old=("CELERY_ENABLE_REMOTE_CONTROL",)),
    S("worker_enable_soft_shutdown_on_idle", "bool", NONE, False, "Soft shutdown waits even without tasks."),
    S("worker_eta_task_limit", "int", NONE, None, "Tasks with an eta held in memory (they wait in the broker here)."),
    S("worker_hijack_root_logger", "bool", NOW, False, "The worker replaces the root logger's handlers.", celery=True),
    S("worker_lease", "seconds", NOW, None, "Life of a claim on messages; None: 8 s."),
    S("worker_log_color", "bool", NOW, None, "Colours in logs; None: on a terminal."),
    S("worker_log_datefmt", "str", NOW, None, "Date format of logs."),
    S("worker_log_format", "str", NOW, "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s", "Format of logs."),
    S("worker_lost_wait", "seconds", NONE, 10.0, "Wait for the result of a lost process (known at once here).",
      old=("CELERYD_WORKER_LOST_WAIT",)),
    S("worker_max_memory_per_child", "int", NOW, None, "KiB of memory at which a child is replaced."),
    S("worker_max_message_bytes", "int", NOW, None,
      "Larger messages are dead letters, larger results failures; None: 128 MiB."),
    S("worker_max_tasks_per_child", "int", NOW, None, "Tasks after which a child is replaced."),
    S("worker_pool", "str", NOW, "prefork", "How tasks run: the name of a pool, or `package.module:Class`."),
    S("worker_pool_putlocks", "bool", NONE, True, "Locks around the pool's queue."),
    S("worker_pool_restarts", "bool", LATER, False, "Allow the pool_restart command."),
    S("worker_pool_start_method", "str", NONE, "fork", "How children start (from a fork server here)."),
    S("worker_prefetch_multiplier", "int", NOW, None, "Messages held for each slot; None: by task time.", celery=4),
    S("worker_processes", "int", NOW, None, "Processes of a pool that runs many tasks in each, as asyncio; None: 1."),
    S("worker_proc_alive_timeout", "seconds", NONE, 4.0, "Longest wait for a child to come up."),
    S("worker_redirect_stdouts", "bool", NOW, False, "Turn prints into log lines.", celery=True,
      old=("CELERY_REDIRECT_STDOUTS",)),
    S("worker_redirect_stdouts_level", "str", NOW, "WARNING", "Level of those lines.",
      old=("CELERY_REDIRECT_STDOUTS_LEVEL",)),
    S("worker_send_task_events", "bool", LATER, False, "Send task events.", old=("CELERY_SEND_EVENTS",)),
    S("worker_shutdown_timeout", "seconds", NOW, 25.0, "A warm stop ends after this time; None: waits for its tasks.",
      celery=None),
    S("worker_soft_shutdown_timeout", "seconds", NOW, 0.0, "Pause before a cold stop in which tasks may end."),
    S("worker_state_db", "str", NONE, None, "File that keeps revoked ids (the broker keeps them)."),
    S("worker_task_log_datefmt", "str", NOW, None, "Date format of task logs."),
    S("worker_task_log_format", "str", NOW,
      "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s", "Format of task logs."),
    S("worker_timer", "str", NONE, None, "Timer class."),
    S("worker_timer_precision", "seconds", NONE, 1.0, "Precision of the timer."),
)  # fmt: skip


def _by_old_name() -> Iterator[tuple[str, str]]:
    for setting in _TABLE:
        for old in setting.old_names:
            yield old, setting.name


#: All settings by name.
SETTINGS: Final[dict[str, Setting]] = {setting.name: setting for setting in _TABLE}
#: Upper-case name of old to name.
OLD_NAMES: Final[dict[str, str]] = dict(_by_old_name())
