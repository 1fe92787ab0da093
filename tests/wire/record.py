"""Capture wire vectors from genuine Celery.

    python record.py messages|serializers|redisrun|redistail|extra|reserved|amqp|amqprun|amqpextra|flower|events|index

The same file is the Celery app module of the workers it starts
(``celery -A record worker``).  Every server and worker is expected on loopback;
ids, clocks, hostnames and times are what the wire carried.
Environment: WIRE_BROKER, WIRE_BACKEND, WIRE_REDIS (raw Redis port), WIRE_AMQP_PORT, WIRE_RABBITMQCTL,
WIRE_RUN (a folder for logs and files of the run; a new temporary one by default).
"""
import base64, datetime as dt, decimal, json, os, signal, socket, subprocess, sys, tempfile, threading, time, uuid

import celery as celery_mod
import kombu as kombu_mod
from celery import Celery, chain, chord, group, signature
from celery.canvas import StampingVisitor
from celery.exceptions import Ignore, Reject
from kombu import Exchange, Queue

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, 'vectors')
RUN = os.environ.get('WIRE_RUN') or tempfile.mkdtemp(prefix='wire-')
RPORT = int(os.environ.get('WIRE_REDIS', '7301'))
APORT = int(os.environ.get('WIRE_AMQP_PORT', '5703'))
BROKER = os.environ.get('WIRE_BROKER', f'redis://127.0.0.1:{RPORT}/0')
BACKEND = os.environ.get('WIRE_BACKEND', f'redis://127.0.0.1:{RPORT}/1')


class WireError(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)
        self.a = a


class KwError(Exception):
    def __init__(self, *, code):
        super().__init__()
        self.code = code


def make_app(broker=BROKER, backend=BACKEND, **conf):
    a = Celery('wire', broker=broker, backend=backend, set_as_current=False)
    a.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=True, **conf)

    @a.task(name='wire.add')
    def add(x, y):
        return x + y

    @a.task(name='wire.echo')
    def echo(*args, **kwargs):
        return [list(args), kwargs]

    @a.task(name='wire.xsum')
    def xsum(xs):
        return sum(xs)

    @a.task(name='wire.boom')
    def boom(*args):
        raise ValueError('bad value', 42)

    @a.task(name='wire.boom_key')
    def boom_key():
        return {}['missing']

    @a.task(name='wire.boom_custom')
    def boom_custom():
        raise WireError('first', {'k': 2})

    @a.task(name='wire.boom_unser')
    def boom_unser():
        raise WireError('first', object())

    @a.task(name='wire.boom_kw')
    def boom_kw():
        raise KwError(code=7)

    @a.task(name='wire.ret_unser')
    def ret_unser():
        return object()

    @a.task(name='wire.types')
    def types():
        return VALUES

    @a.task(name='wire.retry', bind=True, max_retries=2)
    def retry(self, x):
        if self.request.retries < 1:
            raise self.retry(exc=ValueError('again'), countdown=1)
        return x

    @a.task(name='wire.retry_out', bind=True, max_retries=0)
    def retry_out(self):
        raise self.retry(exc=ValueError('gave up'), countdown=0)

    @a.task(name='wire.reject', bind=True, acks_late=True)
    def reject(self, requeue):
        if requeue and self.request.delivery_info.get('redelivered'):
            return 'second time'
        raise Reject('no thanks', requeue=requeue)

    @a.task(name='wire.ignore')
    def ignore():
        raise Ignore()

    @a.task(name='wire.slow')
    def slow(n):
        time.sleep(n)
        return n

    @a.task(name='wire.soft', soft_time_limit=1, time_limit=5)
    def soft():
        time.sleep(10)

    @a.task(name='wire.hard', time_limit=1)
    def hard():
        time.sleep(10)

    @a.task(name='wire.replace', bind=True)
    def replace(self, x):
        raise self.replace(a.signature('wire.add', args=(x, 100)))

    @a.task(name='wire.progress', bind=True)
    def progress(self):
        self.update_state(state='PROGRESS', meta={'done': 3, 'total': 9})
        time.sleep(1.5)
        return 'done'

    @a.task(name='wire.started', track_started=True)
    def started():
        time.sleep(1.5)
        return 'ok'

    @a.task(name='wire.onerr')
    def onerr(request, exc, traceback):
        return [request.id, repr(exc)]

    @a.task(name='wire.onerr_old')
    def onerr_old(task_id):
        return task_id
    return a


VALUES = {
    'none': None, 'true': True, 'int': 2 ** 53 + 1, 'big': 2 ** 70, 'float': 1.5, 'unicode': 'h\u00e9\u2603\U0001f40d', 'nul': '\x00',
    'bytes_utf8': b'abc', 'bytes_bin': b'\xff\x00\x80', 'dt_naive': dt.datetime(2026, 1, 2, 3, 4, 5, 678901),
    'dt_utc': dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
    'dt_off': dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
    'date': dt.date(2026, 1, 2), 'time': dt.time(3, 4, 5, 6), 'time_tz': dt.time(3, 4, 5, tzinfo=dt.timezone.utc),
    'decimal': decimal.Decimal('1.10'), 'decimal_nan': decimal.Decimal('NaN'), 'uuid': uuid.UUID(int=1 << 100),
    'tuple': (1, (2, 3)), 'list': [1, [2]], 'dict': {'a': {'b': [1]}}, 'int_keys': {1: 'one'},
}

app = None
if os.path.basename(sys.argv[0]) != 'record.py':
    app = make_app(**json.loads(os.environ.get('WIRE_CONF', '{}')))


# ------------------------------------------------------------------ helpers
def b(v):
    """Bytes -> text when they are UTF-8, else base64."""
    if isinstance(v, (bytes, bytearray, memoryview)):
        v = bytes(v)
        try:
            return v.decode('utf-8')
        except UnicodeDecodeError:
            return {'base64': base64.b64encode(v).decode()}
    if isinstance(v, dict):
        return {(k if isinstance(k, str) else b(k) if isinstance(b(k), str) else repr(k)): b(x) for k, x in v.items()}
    if isinstance(v, (list, tuple, set)):
        return [b(x) for x in v]
    if v is None or isinstance(v, (str, int, float, bool)):
        return v
    return repr(v)


def save(name, about, call, captured, **more):
    doc = {'about': about, 'celery': celery_mod.__version__, 'kombu': kombu_mod.__version__, 'call': call, **more,
           'captured': b(captured)}
    with open(os.path.join(VECTORS, name + '.json'), 'w') as f:
        json.dump(doc, f, indent=1)
        f.write('\n')
    print('saved', name)


def rds(db=0):
    import redis
    return redis.Redis(port=RPORT, db=db)


def envelope_view(raw):
    """Decoded view of one Redis envelope (the raw text stays the authority)."""
    env = json.loads(raw)
    body = base64.b64decode(env['body']) if env['properties'].get('body_encoding') == 'base64' else env['body']
    return {'body_bytes': body}


def dump_keys(r, pattern='*'):
    out = {}
    for k in sorted(r.keys(pattern)):
        t = r.type(k).decode()
        v = {'string': lambda: r.get(k), 'list': lambda: r.lrange(k, 0, -1), 'set': lambda: sorted(r.smembers(k)),
             'hash': lambda: r.hgetall(k), 'zset': lambda: [[m, s] for m, s in r.zrange(k, 0, -1, withscores=True)]}[t]()
        out[k.decode('utf-8', 'replace')] = {'type': t, 'pttl': r.pttl(k), 'value': b(v)}
    return out


class Monitor:
    """Raw MONITOR lines from the test Redis."""

    def __init__(self):
        self.lines = []
        self.s = socket.create_connection(('127.0.0.1', RPORT))
        self.s.sendall(b'MONITOR\r\n')
        self.f = self.s.makefile('rb')
        assert self.f.readline() == b'+OK\r\n'
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            for line in self.f:
                self.lines.append(line.rstrip(b'\r\n').lstrip(b'+').decode('latin-1'))
        except Exception:
            pass

    def mark(self):
        return len(self.lines)

    def since(self, m, *needles):
        return [x for x in self.lines[m:] if not needles or any(n in x for n in needles)]


def monitor_args(line):
    """Split a MONITOR line into its decoded argument byte strings."""
    out, i = [], line.index(']') + 1
    while i < len(line):
        if line[i] != '"':
            i += 1
            continue
        i += 1
        cur = bytearray()
        while line[i] != '"':
            c = line[i]
            if c == '\\':
                n = line[i + 1]
                if n == 'x':
                    cur.append(int(line[i + 2:i + 4], 16))
                    i += 4
                    continue
                cur += {'n': b'\n', 'r': b'\r', 't': b'\t', 'a': b'\a', 'b': b'\b'}.get(n, n.encode('latin-1'))
                i += 2
                continue
            cur += c.encode('latin-1')
            i += 1
        out.append(bytes(cur))
        i += 1
    return out


def start_worker(name, log, broker=BROKER, backend=BACKEND, extra=(), conf=None):
    env = dict(os.environ, WIRE_BROKER=broker, WIRE_BACKEND=backend, PYTHONDONTWRITEBYTECODE='1',
               WIRE_CONF=json.dumps(conf or {}), C_FORCE_ROOT='1')
    p = subprocess.Popen([sys.executable, '-m', 'celery', '-A', 'record', 'worker', '-n', name, '-c', '2', '-l', 'INFO', '-E', *extra],
                         cwd=HERE, env=env, stdout=open(log, 'wb'), stderr=subprocess.STDOUT)
    for _ in range(150):
        time.sleep(0.2)
        if b' ready.' in open(log, 'rb').read():
            time.sleep(0.7)
            return p
        if p.poll() is not None:
            break
    raise SystemExit('worker did not start: ' + open(log).read()[-3000:])


# ------------------------------------------------------------------ Redis messages
class MyVisitor(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {'mtask_id': 'm-1', 'owner': ['alice', 'bob'], 'stamped_headers': ['mtask_id', 'owner']}


def message_cases(a):
    s = lambda n, *args, **kw: a.signature('wire.' + n, args=args, **kw)
    T = a.tasks
    aware = dt.datetime(2030, 1, 2, 3, 4, 5, 6000, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    naive = dt.datetime(2030, 1, 2, 3, 4, 5)
    yield 'delay_simple', 'add.delay(2, 3)', lambda: T['wire.add'].delay(2, 3)
    yield 'delay_noargs', 'echo.delay()', lambda: T['wire.echo'].delay()
    yield 'delay_kwargs', "echo.delay('a', k=1, other=None)", lambda: T['wire.echo'].delay('a', k=1, other=None)
    yield 'delay_types', 'echo.delay(**VALUES)', lambda: T['wire.echo'].delay(**VALUES)
    yield 'delay_long_repr', "echo.delay('x'*3000, k=list(range(1000)))", lambda: T['wire.echo'].delay('x' * 3000, k=list(range(1000)))
    yield 'send_task_by_name', "app.send_task('other.task', (1,), {'k': 2})", lambda: a.send_task('other.task', (1,), {'k': 2})
    yield 'custom_task_id', "add.apply_async((1,1), task_id='my-id-1')", lambda: T['wire.add'].apply_async((1, 1), task_id='my-id-1')
    yield 'countdown', 'add.apply_async((1,1), countdown=10)', lambda: T['wire.add'].apply_async((1, 1), countdown=10)
    yield 'countdown_float', 'add.apply_async((1,1), countdown=0.25)', lambda: T['wire.add'].apply_async((1, 1), countdown=0.25)
    yield 'eta_aware', f'add.apply_async((1,1), eta={aware!r})', lambda: T['wire.add'].apply_async((1, 1), eta=aware)
    yield 'eta_naive', f'add.apply_async((1,1), eta={naive!r})', lambda: T['wire.add'].apply_async((1, 1), eta=naive)
    yield 'expires_seconds', 'add.apply_async((1,1), expires=60)', lambda: T['wire.add'].apply_async((1, 1), expires=60)
    yield 'expires_datetime', f'add.apply_async((1,1), expires={aware!r})', lambda: T['wire.add'].apply_async((1, 1), expires=aware)
    yield 'priority_0', 'add.apply_async((1,1), priority=0)', lambda: T['wire.add'].apply_async((1, 1), priority=0)
    yield 'priority_4', 'add.apply_async((1,1), priority=4)', lambda: T['wire.add'].apply_async((1, 1), priority=4)
    yield 'priority_9', 'add.apply_async((1,1), priority=9)', lambda: T['wire.add'].apply_async((1, 1), priority=9)
    yield 'priority_12', 'add.apply_async((1,1), priority=12)', lambda: T['wire.add'].apply_async((1, 1), priority=12)
    yield 'time_limits', 'add.apply_async((1,1), time_limit=30, soft_time_limit=20)', lambda: T['wire.add'].apply_async((1, 1), time_limit=30, soft_time_limit=20)
    yield 'shadow', "add.apply_async((1,1), shadow='shown.as')", lambda: T['wire.add'].apply_async((1, 1), shadow='shown.as')
    yield 'argsrepr', "add.apply_async((1,1), argsrepr='(secret)', kwargsrepr='{hidden}')", lambda: T['wire.add'].apply_async((1, 1), argsrepr='(secret)', kwargsrepr='{hidden}')
    yield 'custom_headers', "add.apply_async((1,1), headers={'x-trace': 'abc', 'n': 1})", lambda: T['wire.add'].apply_async((1, 1), headers={'x-trace': 'abc', 'n': 1})
    yield 'queue_named', "add.apply_async((1,1), queue='other')", lambda: T['wire.add'].apply_async((1, 1), queue='other')
    yield 'exchange_routing', "add.apply_async((1,1), exchange='celery', routing_key='celery')", lambda: T['wire.add'].apply_async((1, 1), exchange='celery', routing_key='celery')
    def bound():
        rds(0).sadd('_kombu.binding.celery', 'celery\x06\x16\x06\x16celery')
        return T['wire.add'].apply_async((1, 1), exchange='celery', routing_key='celery')
    yield 'exchange_routing_bound', "the same with the binding present in _kombu.binding.celery", bound
    yield 'reply_to', "add.apply_async((1,1), reply_to='someq', correlation_id='c-1')", lambda: T['wire.add'].apply_async((1, 1), reply_to='someq', correlation_id='c-1')
    yield 'extra_properties', "add.apply_async((1,1), expiration=30, message_id='m1', app_id='x', user_id='u', delivery_mode=1)", lambda: T['wire.add'].apply_async((1, 1), expiration=30, message_id='m1', app_id='x', delivery_mode=1)
    yield 'link', 'add.apply_async((1,1), link=add.s(10))', lambda: T['wire.add'].apply_async((1, 1), link=s('add', 10))
    yield 'link_two_immutable', 'add.apply_async((1,1), link=[add.s(10), add.si(1,2)])', lambda: T['wire.add'].apply_async((1, 1), link=[s('add', 10), s('add', 1, 2, immutable=True)])
    yield 'link_error', 'add.apply_async((1,1), link_error=onerr.s())', lambda: T['wire.add'].apply_async((1, 1), link_error=s('onerr'))
    yield 'link_error_list', 'add.apply_async((1,1), link_error=[onerr.s(), onerr_old.s()])', lambda: T['wire.add'].apply_async((1, 1), link_error=[s('onerr'), s('onerr_old')])
    yield 'chain2', 'chain(add.s(1,1), add.s(2))()', lambda: chain(s('add', 1, 1), s('add', 2), app=a)()
    yield 'chain4', 'chain(add.s(1,1), add.s(2), add.s(3), add.s(4)).apply_async()', lambda: chain(s('add', 1, 1), s('add', 2), s('add', 3), s('add', 4), app=a).apply_async()
    yield 'chain_link_error', 'chain(add.s(1,1), add.s(2)).apply_async(link_error=onerr.s())', lambda: chain(s('add', 1, 1), s('add', 2), app=a).apply_async(link_error=s('onerr'))
    yield 'group3', 'group(add.s(i,i) for i in range(3))()', lambda: group([s('add', i, i) for i in range(3)], app=a)()
    yield 'chord2', 'chord([add.s(1,1), add.s(2,2)])(xsum.s())', lambda: chord([s('add', 1, 1), s('add', 2, 2)], app=a)(s('xsum'))
    yield 'chord_link_error', 'chord([add.s(1,1), add.s(2,2)], xsum.s()).apply_async(link_error=onerr.s())', lambda: chord([s('add', 1, 1), s('add', 2, 2)], s('xsum'), app=a).apply_async(link_error=s('onerr'))
    yield 'chain_into_group', '(add.s(1,1) | group(add.s(2), add.s(3)))()', lambda: (s('add', 1, 1) | group([s('add', 2), s('add', 3)], app=a))()
    yield 'chain_group_task', '(add.s(1,1) | group(add.s(2), add.s(3)) | xsum.s())()', lambda: (s('add', 1, 1) | group([s('add', 2), s('add', 3)], app=a) | s('xsum'))()
    yield 'group_of_chains', 'group(chain(add.s(1,1), add.s(2)), chain(add.s(3,3), add.s(4)))()', lambda: group([chain(s('add', 1, 1), s('add', 2), app=a), chain(s('add', 3, 3), s('add', 4), app=a)], app=a)()
    yield 'chord_of_chains', 'chord([chain(add.s(1,1), add.s(2)), add.s(5,5)])(xsum.s())', lambda: chord([chain(s('add', 1, 1), s('add', 2), app=a), s('add', 5, 5)], app=a)(s('xsum'))
    yield 'nested_chord', '(group(add.s(1,1), add.s(2,2)) | xsum.s() | group(add.s(1), add.s(2)) | xsum.s())()', lambda: (group([s('add', 1, 1), s('add', 2, 2)], app=a) | s('xsum') | group([s('add', 1), s('add', 2)], app=a) | s('xsum'))()
    yield 'chunks', 'add.chunks([(1,1),(2,2),(3,3)], 2).group()()', lambda: T['wire.add'].chunks([(1, 1), (2, 2), (3, 3)], 2).group()()
    yield 'starmap', 'add.starmap([(1,1),(2,2)]).apply_async()', lambda: T['wire.add'].starmap([(1, 1), (2, 2)]).apply_async()
    yield 'sig_options', "add.s(1,1).set(queue='other', priority=7, expires=5).apply_async()", lambda: s('add', 1, 1).set(queue='other', priority=7, expires=5).apply_async()

    def stamped():
        sig = s('add', 1, 1)
        sig.stamp(MyVisitor())
        return sig.apply_async()

    def stamped_kw():
        sig = chain(s('add', 1, 1), s('add', 2), app=a)
        sig.stamp(stamp='v1')
        return sig.apply_async()

    def stamped_group():
        g = group([s('add', 1, 1), s('add', 2, 2)], app=a)
        g.stamp(MyVisitor())
        return g.apply_async()
    yield 'stamps_visitor', 'sig.stamp(MyVisitor()); on_signature returns mtask_id, owner list, stamped_headers', stamped
    yield 'stamps_kwargs_chain', "chain(add.s(1,1), add.s(2)).stamp(stamp='v1')", stamped_kw
    yield 'stamps_group', 'group(...).stamp(MyVisitor())', stamped_group
    yield 'ignore_result', 'add.apply_async((1,1), ignore_result=True)', lambda: T['wire.add'].apply_async((1, 1), ignore_result=True)
    yield 'retries_header', 'add.apply_async((1,1), retries=3)', lambda: T['wire.add'].apply_async((1, 1), retries=3)
    yield 'root_parent', "add.apply_async((1,1), root_id='r', parent_id='p', group_id='g', group_index=4)", lambda: T['wire.add'].apply_async((1, 1), root_id='r', parent_id='p', group_id='g', group_index=4)


def flushall():
    rds(0).flushall()


def capture_messages(a, cases, prefix, proto=2):
    r = rds(0)
    for name, call, fn in cases:
        flushall()
        m = MON.mark()
        res = fn()
        time.sleep(0.05)
        trace = MON.since(m)
        keys = dump_keys(r)
        msgs = []
        for k, v in keys.items():
            if v['type'] == 'list':
                for raw in v['value']:
                    msgs.append({'key': k, 'raw': raw, 'view': envelope_view(raw)})
        meta = dump_keys(rds(1))
        save(f'{prefix}{name}', f'Redis queue payload(s) left by: {call}', call,
             {'lists': msgs, 'other_keys_db0': {k: v for k, v in keys.items() if v['type'] != 'list'}, 'backend_keys_db1': meta,
              'monitor': trace}, returned=repr(res))


def cmd_messages():
    a = make_app()
    capture_messages(a, message_cases(a), 'msg_')
    a1 = make_app(task_protocol=1)
    want = {'delay_simple', 'delay_kwargs', 'countdown', 'eta_naive', 'expires_seconds', 'link', 'link_error', 'group3', 'chord2', 'chain2', 'time_limits', 'priority_9'}
    capture_messages(a1, (c for c in message_cases(a1) if c[0] in want), 'msg_v1_')
    al = make_app(timezone='Europe/Oslo', enable_utc=False)
    capture_messages(al, (c for c in message_cases(al) if c[0] in {'countdown', 'eta_naive', 'eta_aware', 'expires_seconds'}), 'msg_localtz_')
    az = make_app(timezone='Europe/Oslo')
    capture_messages(az, (c for c in message_cases(az) if c[0] in {'countdown', 'eta_naive'}), 'msg_oslo_utc_')
    se = make_app(task_send_sent_event=True)
    capture_messages(se, (c for c in message_cases(se) if c[0] in {'delay_simple'}), 'msg_sentevent_')
    rp = make_app(backend='rpc://')
    capture_messages(rp, (c for c in message_cases(rp) if c[0] in {'delay_simple'}), 'msg_rpc_')
    gp = make_app(broker_transport_options={'global_keyprefix': 'pre:', 'priority_steps': list(range(10)), 'sep': ':', 'queue_order_strategy': 'priority'})
    capture_messages(gp, (c for c in message_cases(gp) if c[0] in {'delay_simple', 'priority_4'}), 'msg_keyprefix_')
    q = make_app(task_queues=[Queue('t', Exchange('topicx', 'topic'), routing_key='a.*.c.#'), Queue('d', Exchange('dx', 'direct'), routing_key='dk')])
    capture_messages(q, [('topic', "apply_async(exchange='topicx', routing_key='a.b.c.d')", lambda: q.tasks['wire.add'].apply_async((1, 1), exchange='topicx', routing_key='a.b.c.d', exchange_type='topic', declare=list(q.amqp.queues.values()))),
                         ('direct', "apply_async(queue='d')", lambda: q.tasks['wire.add'].apply_async((1, 1), queue='d'))], 'msg_routed_')
    q2 = make_app(task_queues=[Queue('exp', Exchange('exp', 'direct'), routing_key='exp', expires=60.0)])
    capture_messages(q2, [('x_expires', "queue declared with expires=60", lambda: q2.tasks['wire.add'].apply_async((1, 1), queue='exp'))], 'msg_routed_')


def cmd_serializers():
    a = make_app(task_serializer='json', accept_content=['json', 'pickle', 'yaml', 'msgpack'])
    T = a.tasks['wire.echo']
    simple = ((1, 'a', 1.5, None, True, [1, {'k': 'v'}]), {'b': 'x'})
    big = (('z' * 400,), {})
    cases = []
    for ser in ('json', 'pickle', 'yaml', 'msgpack'):
        cases.append((f'serializer_{ser}', f'echo.apply_async({simple!r}, serializer={ser!r})', lambda ser=ser: T.apply_async(*simple, serializer=ser)))
    cases.append(('serializer_pickle_types', 'echo.apply_async((), VALUES, serializer="pickle")', lambda: T.apply_async((), VALUES, serializer='pickle')))
    cases.append(('serializer_yaml_types', 'echo.apply_async((), subset, serializer="yaml")', lambda: T.apply_async((), {k: VALUES[k] for k in ('bytes_utf8', 'bytes_bin', 'dt_utc', 'date', 'unicode')}, serializer='yaml')))
    cases.append(('serializer_msgpack_bytes', 'echo.apply_async((b"\\xff",), serializer="msgpack")', lambda: T.apply_async((b'\xff', b'abc', 'txt'), {}, serializer='msgpack')))
    for c in ('zlib', 'gzip', 'bzip2', 'lzma', 'brotli', 'zstd'):
        cases.append((f'compression_{c}', f'echo.apply_async(("z"*400,), compression={c!r})', lambda c=c: T.apply_async(*big, compression=c)))
    cases.append(('compression_pickle_gzip', 'pickle + gzip', lambda: T.apply_async(*big, serializer='pickle', compression='gzip')))
    capture_messages(a, cases, 'msg_')
    from kombu.serialization import dumps
    from kombu.compression import compress, encoders
    tab = {}
    for ser in ('json', 'pickle', 'yaml', 'msgpack', 'raw'):
        try:
            ct, ce, data = dumps(b'raw' if ser == 'raw' else {'a': 1}, ser)
            tab[ser] = {'content_type': ct, 'content_encoding': ce, 'data': data if isinstance(data, bytes) else data.encode()}
        except Exception as e:
            tab[ser] = repr(e)
    save('table_serializers', 'content type and encoding per serializer name', 'kombu.serialization.dumps({"a": 1}, name)', tab)
    save('table_compression', 'compression header value per alias', "kombu.compression.compress(b'a'*40, alias)",
         {'encoders': encoders(), **{c: [x if isinstance(x, str) else bytes(x) for x in compress(b'a' * 40, c)] for c in ('zlib', 'gzip', 'bzip2', 'bzip', 'lzma', 'xz', 'brotli', 'zstd', 'zstandard')}})
    from kombu.utils.json import dumps as jd
    tab = {}
    for k, v in list(VALUES.items()) + [('set', {1, 2}), ('frozenset', frozenset([1])), ('timedelta', dt.timedelta(seconds=5)), ('nan', float('nan')), ('inf', float('inf')),
                                        ('complex', 1j), ('object', object()), ('exception', ValueError('x')), ('bytearray', bytearray(b'x')), ('memoryview', memoryview(b'x')), ('range', range(3))]:
        try:
            tab[k] = {'python': repr(v), 'json': jd(v)}
        except Exception as e:
            tab[k] = {'python': repr(v), 'error': repr(e)}
    save('table_json_types', 'kombu JSON form of each Python type', 'kombu.utils.json.dumps(value)', tab)


# ------------------------------------------------------------------ live worker on Redis
def result_keys(ids):
    r = rds(1)
    out = {}
    for i in ids:
        k = 'celery-task-meta-' + i
        out[k] = {'raw': b(r.get(k)), 'pttl': r.pttl(k)}
    return out


def wait_state(a, tid, states=('SUCCESS', 'FAILURE', 'REVOKED'), timeout=15):
    end = time.time() + timeout
    while time.time() < end:
        raw = rds(1).get('celery-task-meta-' + tid)
        if raw and json.loads(raw)['status'] in states:
            return
        time.sleep(0.05)


def is_event(line):
    return '"PUBLISH" "/0.celeryev' in line


def events_from(lines):
    """Every event publish seen: channel, raw envelope, decoded body bytes."""
    out = []
    for l in lines:
        if is_event(l):
            _, ch, raw = monitor_args(l)
            out.append({'at': l.split(' ', 1)[0], 'channel': ch, 'raw': raw, 'view': envelope_view(raw)})
    return out


def events_about(evs, tid):
    return [e for e in evs if tid.encode() in (e['view']['body_bytes'] if isinstance(e['view']['body_bytes'], bytes) else b'')]


def control_lines(lines):
    out = []
    for l in lines:
        if 'pidbox' in l:
            args = monitor_args(l)
            item = {'line': l}
            for x in args:
                if x.startswith(b'{"body"'):
                    item['raw'] = x
                    item['view'] = envelope_view(x)
            out.append(item)
    return out


def cmd_redisrun():
    flushall()
    m0 = MON.mark()
    p = start_worker('w1@wire', RUN + '/redis_w1.log')
    a = make_app(task_send_sent_event=True)
    s = lambda n, *args, **kw: a.signature('wire.' + n, args=args, **kw)
    T = a.tasks
    try:
        time.sleep(3)
        boot = MON.since(m0)
        save('trace_redis_worker_startup', 'every Redis command while one worker starts (gossip, mingle, events on)', 'celery -A record worker -n w1@wire -c 2 -E', {'monitor': boot})
        evs = events_from(boot)
        save('event_worker_online_heartbeat', 'worker-online and first heartbeats', 'worker start', {'events': evs[:6]})

        # one task from publish to result
        m = MON.mark()
        res = T['wire.add'].delay(2, 3)
        res.get(timeout=10)
        time.sleep(1.2)
        save('trace_redis_one_task', 'MONITOR trace of add.delay(2,3).get() with one worker', 'add.delay(2, 3).get()', {'task_id': res.id, 'monitor': MON.since(m)})

        # results + event life cycles
        runs = [
            ('success', 'add.delay(2,3)', lambda: T['wire.add'].delay(2, 3)),
            ('success_types', 'types.delay() returning VALUES', lambda: T['wire.types'].delay()),
            ('failure_builtin', "boom.delay('x'): ValueError('bad value', 42)", lambda: T['wire.boom'].delay('x')),
            ('failure_keyerror', "boom_key.delay(): KeyError('missing')", lambda: T['wire.boom_key'].delay()),
            ('failure_custom', "boom_custom.delay(): WireError('first', {'k': 2})", lambda: T['wire.boom_custom'].delay()),
            ('failure_unserializable_args', "boom_unser.delay(): WireError('first', object())", lambda: T['wire.boom_unser'].delay()),
            ('failure_keyword_ctor', 'boom_kw.delay(): KwError(code=7)', lambda: T['wire.boom_kw'].delay()),
            ('failure_unserializable_result', 'ret_unser.delay(): return object()', lambda: T['wire.ret_unser'].delay()),
            ('failure_type_error', 'add.apply_async((1,2,3)) wrong arity', lambda: a.send_task('wire.add', (1, 2, 3))),
            ('failure_soft_time_limit', 'soft.delay()', lambda: T['wire.soft'].delay()),
            ('failure_hard_time_limit', 'hard.delay()', lambda: T['wire.hard'].delay()),
            ('failure_retries_exhausted', 'retry_out.delay()', lambda: T['wire.retry_out'].delay()),
            ('failure_linked', 'boom.apply_async(link_error=[onerr.s(), onerr_old.s()])', lambda: T['wire.boom'].apply_async(('x',), link_error=[s('onerr'), s('onerr_old')])),
            ('reject', 'reject.delay(False)', lambda: T['wire.reject'].delay(False)),
            ('reject_requeue', 'reject.delay(True)', lambda: T['wire.reject'].delay(True)),
            ('ignore', 'ignore.delay()', lambda: T['wire.ignore'].delay()),
            ('ignore_result', 'add.apply_async((1,1), ignore_result=True)', lambda: T['wire.add'].apply_async((1, 1), ignore_result=True)),
            ('replace', 'replace.delay(1)', lambda: T['wire.replace'].delay(1)),
            ('expired', 'add.apply_async((1,1), expires=-5)', lambda: T['wire.add'].apply_async((1, 1), expires=-5)),
            ('link_success', 'add.apply_async((1,1), link=add.s(10))', lambda: T['wire.add'].apply_async((1, 1), link=s('add', 10))),
            ('chain_run', 'chain(add.s(1,1), add.s(2), add.s(3))()', lambda: chain(s('add', 1, 1), s('add', 2), s('add', 3), app=a)()),
            ('stamped_run', 'stamped add', lambda: (lambda g: (g.stamp(MyVisitor()), g.apply_async())[1])(s('add', 1, 1))),
            ('group_run', 'group(add.s(1,1), add.s(2,2))() then .save()', lambda: group([s('add', 1, 1), s('add', 2, 2)], app=a)()),
            ('chord_run', 'chord([add.s(1,1), add.s(2,2), add.s(3,3)])(xsum.s())', lambda: chord([s('add', i, i) for i in (1, 2, 3)], app=a)(s('xsum'))),
            ('chord_member_fails', 'chord([add.s(1,1), boom.s()])(xsum.s().on_error(onerr.s()))', lambda: chord([s('add', 1, 1), s('boom')], app=a)(s('xsum').on_error(s('onerr')))),
            ('nested_chord_run', '(group(add.s(1,1), add.s(2,2)) | xsum.s() | group(add.s(1), add.s(2)) | xsum.s())()', lambda: (group([s('add', 1, 1), s('add', 2, 2)], app=a) | s('xsum') | group([s('add', 1), s('add', 2)], app=a) | s('xsum'))()),
            ('chord_of_chains_run', 'chord([chain(add.s(1,1), add.s(2)), add.s(5,5)])(xsum.s())', lambda: chord([chain(s('add', 1, 1), s('add', 2), app=a), s('add', 5, 5)], app=a)(s('xsum'))),
        ]
        for name, call, fn in runs:
            rds(1).flushdb()
            m = MON.mark()
            res = fn()
            if name == 'group_run':
                res.save()
            wait_state(a, res.id if name != 'group_run' else res.results[-1].id, timeout={'reject': 1.5, 'ignore': 1.0, 'ignore_result': 1.0, 'expired': 3}.get(name, 9))
            time.sleep(1.3 if 'link' in name or 'chord' in name or name == 'group_run' else 0.7)
            lines = MON.since(m)
            keys = dump_keys(rds(1))
            save(f'run_{name}', f'backend keys, events and full command trace of: {call}', call,
                 {'id': res.id, 'backend_keys_db1': keys, 'events': events_from(lines), 'monitor': [x for x in lines if not is_event(x)]})

        # retry mid-flight and after
        rds(1).flushdb()
        m = MON.mark()
        res = T['wire.retry'].delay(5)
        wait_state(a, res.id, ('RETRY',), 5)
        mid = {'result': result_keys([res.id]), 'db0': dump_keys(rds(0))}
        wait_state(a, res.id)
        time.sleep(0.5)
        lines = MON.since(m)
        save('run_retry', 'retry: the re-published message, RETRY record and final record', 'retry.delay(5) with countdown=1', {'id': res.id, 'mid': mid, 'final': result_keys([res.id]), 'events': events_from(lines), 'monitor': [x for x in lines if not is_event(x)]})

        for nm in ('started', 'progress'):
            rds(1).flushdb()
            m = MON.mark()
            res = T['wire.' + nm].delay()
            wait_state(a, res.id, ('STARTED', 'PROGRESS'), 5)
            mid = result_keys([res.id])
            wait_state(a, res.id)
            save(f'run_{nm}', f'{nm} record mid-flight and final', f'{nm}.delay()', {'id': res.id, 'mid': mid, 'final': result_keys([res.id]), 'events': events_from(MON.since(m))})

        # chord keys mid flight
        rds(1).flushdb()
        res = chord([s('add', 1, 1), s('slow', 2), s('slow', 2)], app=a)(s('xsum'))
        time.sleep(1.0)
        save('chord_keys_midflight', 'backend keys while one of three chord members has finished', 'chord([add.s(1,1), slow.s(2), slow.s(2)])(xsum.s())', {'body_id': res.id, 'mid': dump_keys(rds(1))})
        wait_state(a, res.id)

        # revoke before start and terminate while running
        rds(1).flushdb()
        m = MON.mark()
        r1 = T['wire.add'].apply_async((1, 1), countdown=3)
        time.sleep(0.7)
        mid0 = dump_keys(rds(0))
        a.control.revoke(r1.id)
        r2 = T['wire.slow'].delay(20)
        time.sleep(1)
        a.control.revoke(r2.id, terminate=True, signal='SIGTERM')
        time.sleep(4)
        lines = MON.since(m)
        save('run_revoked', 'revoke of a scheduled task and terminate of a running task', "revoke(id); revoke(id2, terminate=True, signal='SIGTERM')", {'scheduled': r1.id, 'running': r2.id, 'db0_while_scheduled': mid0, 'results': result_keys([r1.id, r2.id]), 'events': events_from(lines), 'control': control_lines(lines), 'monitor': [x for x in lines if not is_event(x)]})

        # control
        slow = [T['wire.slow'].delay(6) for _ in range(5)]
        sched = T['wire.add'].apply_async((1, 1), countdown=60)
        time.sleep(1.5)
        dest = ['w1@wire']
        insp = a.control.inspect(timeout=1.5)
        ins1 = a.control.inspect(destination=dest, timeout=1.5)
        ctl = a.control
        ctrl = [
            ('ping', "control.ping()", lambda: ctl.ping(timeout=1)),
            ('ping_destination', "control.ping(destination=['w1@wire'])", lambda: ctl.ping(destination=dest, timeout=1)),
            ('ping_pattern', "inspect(pattern='w*', matcher='glob').ping()", lambda: a.control.inspect(pattern='w*', matcher='glob', timeout=1).ping()),
            ('inspect_ping', 'inspect().ping()', insp.ping), ('stats', 'inspect().stats()', insp.stats), ('active', 'inspect().active()', insp.active),
            ('active_safe', 'inspect().active(safe=True)', lambda: insp.active(safe=True)),
            ('reserved', 'inspect().reserved()', insp.reserved), ('scheduled', 'inspect().scheduled()', insp.scheduled), ('revoked', 'inspect().revoked()', insp.revoked),
            ('registered', 'inspect().registered()', insp.registered), ('registered_attrs', "inspect().registered('rate_limit','max_retries')", lambda: insp.registered('rate_limit', 'max_retries')),
            ('conf', 'inspect().conf()', insp.conf), ('conf_defaults', 'inspect().conf(with_defaults=True)', lambda: insp.conf(with_defaults=True)),
            ('active_queues', 'inspect().active_queues()', insp.active_queues), ('clock', 'inspect().clock()', insp.clock), ('report', 'inspect().report()', insp.report),
            ('query_task', 'inspect().query_task([ids])', lambda: insp.query_task([slow[0].id, sched.id, 'unknown'])),
            ('hello', "inspect().hello('other@host', revoked={})", lambda: insp.hello('other@host', revoked={})),
            ('memsample', 'inspect().memsample()', insp.memsample),
            ('revoke', "control.revoke('some-id', reply=True)", lambda: ctl.revoke('some-id', reply=True)),
            ('revoke_list_terminate', "control.revoke(['a','b'], terminate=True, reply=True)", lambda: ctl.revoke(['a', 'b'], terminate=True, reply=True)),
            ('revoke_by_stamped_headers', "control.revoke_by_stamped_headers({'mtask_id': ['m-9']}, reply=True)", lambda: ctl.revoke_by_stamped_headers({'mtask_id': ['m-9']}, reply=True)),
            ('terminate', "control.terminate('nope', reply=True)", lambda: ctl.terminate('nope', reply=True)),
            ('rate_limit', "control.rate_limit('wire.add', '10/m', reply=True)", lambda: ctl.rate_limit('wire.add', '10/m', reply=True)),
            ('rate_limit_reset', "control.rate_limit('wire.add', None, reply=True)", lambda: ctl.rate_limit('wire.add', None, reply=True)),
            ('rate_limit_bad', "control.rate_limit('wire.add', 'x/q', reply=True)", lambda: ctl.rate_limit('wire.add', 'x/q', reply=True)),
            ('rate_limit_unknown', "control.rate_limit('nope', '1/s', reply=True)", lambda: ctl.rate_limit('nope', '1/s', reply=True)),
            ('time_limit', "control.time_limit('wire.slow', soft=50, hard=60, reply=True)", lambda: ctl.time_limit('wire.slow', soft=50, hard=60, reply=True)),
            ('pool_grow', 'control.pool_grow(1, reply=True)', lambda: ctl.pool_grow(1, reply=True)), ('pool_shrink', 'control.pool_shrink(1, reply=True)', lambda: ctl.pool_shrink(1, reply=True)),
            ('pool_restart', 'control.pool_restart(reply=True)', lambda: ctl.pool_restart(reply=True)), ('autoscale', 'control.autoscale(4, 2, reply=True)', lambda: ctl.autoscale(4, 2, reply=True)),
            ('add_consumer', "control.add_consumer('extra', reply=True)", lambda: ctl.add_consumer('extra', reply=True)),
            ('active_queues_after_add', 'inspect().active_queues()', insp.active_queues),
            ('cancel_consumer', "control.cancel_consumer('extra', reply=True)", lambda: ctl.cancel_consumer('extra', reply=True)),
            ('enable_events', 'control.enable_events(reply=True)', lambda: ctl.enable_events(reply=True)), ('disable_events', 'control.disable_events(reply=True)', lambda: ctl.disable_events(reply=True)),
            ('enable_events_again', 'control.enable_events(reply=True)', lambda: ctl.enable_events(reply=True)),
            ('heartbeat', 'control.heartbeat(reply=True)', lambda: ctl.heartbeat(reply=True)),
            ('unknown_command', "control.broadcast('nonesuch', reply=True)", lambda: ctl.broadcast('nonesuch', reply=True)),
            ('bad_argument', "control.broadcast('rate_limit', arguments={'bogus': 1}, reply=True)", lambda: ctl.broadcast('rate_limit', arguments={'bogus': 1}, reply=True)),
        ]
        for name, call, fn in ctrl:
            m = MON.mark()
            try:
                got = fn()
            except Exception as e:
                got = repr(e)
            time.sleep(0.15)
            lines = MON.since(m)
            save(f'control_{name}', f'request and reply envelopes on Redis for {call}', call, {'python_return': got, 'pidbox': control_lines(lines), 'other': [x for x in lines if 'pidbox' not in x and not is_event(x) and 'BRPOP' not in x][:40]})

        p.terminate()
        p.wait(40)
    finally:
        for q in (p,):
            if q.poll() is None:
                q.terminate()


def cmd_redistail():
    """Two workers: mingle, gossip, idle trace, remote shutdown, and a control command that kills the worker."""
    flushall()
    p = start_worker('w1@wire', RUN + '/redis_w1b.log')
    a = make_app()
    ctl = a.control
    s0 = lambda n, *args, **kw: a.signature('wire.' + n, args=args, **kw)
    try:
        a.tasks['wire.add'].delay(1, 1).get(timeout=10)
        for name, call, fn in [('bad_argument', "control.broadcast('rate_limit', arguments={'bogus': 1}, reply=True)", lambda: ctl.broadcast('rate_limit', arguments={'bogus': 1}, reply=True)),
                               ('unknown_command', "control.broadcast('nonesuch', reply=True)", lambda: ctl.broadcast('nonesuch', reply=True))]:
            m = MON.mark()
            got = fn()
            time.sleep(0.3)
            save(f'control_{name}', f'request and reply envelopes on Redis for {call}', call, {'python_return': got, 'alive': p.poll() is None, 'pidbox': control_lines(MON.since(m))})
        ctl.revoke('old-1')
        # a second worker: mingle and gossip
        m = MON.mark()
        p2 = start_worker('w2@wire', RUN + '/redis_w2.log')
        time.sleep(3)
        lines = MON.since(m)
        save('trace_redis_mingle', 'hello request/replies and events while a second worker joins', 'celery worker -n w2@wire', {'pidbox': control_lines(lines), 'events': events_from(lines)[:12]})
        p2.send_signal(signal.SIGTERM)
        p2.wait(30)

        # idle consume cycle and warm shutdown by remote control
        m = MON.mark()
        time.sleep(2.5)
        save('trace_redis_idle', 'an idle worker for 2.5 s', 'nothing', {'monitor': MON.since(m)})
        m = MON.mark()
        a.control.shutdown()
        p.wait(40)
        time.sleep(0.3)
        lines = MON.since(m)
        save('control_shutdown', 'shutdown broadcast, last events and the commands of a warm shutdown', 'control.shutdown()', {'pidbox': control_lines(lines), 'events': events_from(lines), 'monitor': [x for x in lines if not is_event(x)], 'exit_code': p.returncode, 'db0_after': dump_keys(rds(0))})
        p, p2 = start_worker('e1@wire', RUN + '/redis_e1.log'), start_worker('e2@wire', RUN + '/redis_e2.log')
        time.sleep(3)
        m = MON.mark()
        a.control.election('e2', 'task', dict(s0('add', 1, 2)))
        time.sleep(2.5)
        lines = MON.since(m)
        save('gossip_election', 'election control command with two workers, topic task', "control.election('e2', 'task', signature)", {'exit_codes': [p.poll(), p2.poll()], 'logs': [open(RUN + '/redis_e%d.log' % n, 'rb').read()[-1800:] for n in (1, 2)], 'pidbox': control_lines(lines), 'events': [e for e in events_from(lines) if b'elect' in e['channel']], 'monitor': [x for x in lines if 'LPUSH' in x]})
        for q in (p, p2):
            if q.poll() is None:
                q.terminate()
                q.wait(30)
        p = start_worker('e3@wire', RUN + '/redis_e3.log')
        m = MON.mark()
        a.control.election('e3', 'task', None)
        time.sleep(3)
        lines = MON.since(m)
        save('gossip_election_single', 'election with one worker only: the heap has a single entry and the worker dies of IndexError', "control.election('e3', 'task', None)", {'exit_code': p.poll(), 'log': open(RUN + '/redis_e3.log', 'rb').read()[-1200:], 'events': [e for e in events_from(lines) if b'elect' in e['channel']]})
        if p.poll() is None:
            p.terminate()
        p.wait(30)
        p = start_worker('w3@wire', RUN + '/redis_w3.log')
        m = MON.mark()
        got = ctl.broadcast('pool_grow', arguments={'n': 'x'}, reply=True)
        time.sleep(2)
        save('control_pool_grow_bad_type', 'a control command whose handler fails inside the pool', "control.broadcast('pool_grow', arguments={'n': 'x'}, reply=True)", {'python_return': got, 'exit_code': p.poll(), 'worker_log': open(RUN + '/redis_w3.log', 'rb').read()[-2500:], 'pidbox': control_lines(MON.since(m))})
    finally:
        if p.poll() is None:
            p.terminate()


# ------------------------------------------------------------------ edge cases on Redis
def cmd_extra():
    flushall()
    conf = {'result_extended': True}
    env_events = ()
    p = subprocess.Popen([sys.executable, '-m', 'celery', '-A', 'record', 'worker', '-n', 'x1@wire', '-c', '1', '-l', 'INFO', *env_events], cwd=HERE,
                         env=dict(os.environ, WIRE_CONF=json.dumps(conf), C_FORCE_ROOT='1', PYTHONDONTWRITEBYTECODE='1'), stdout=open(RUN + '/x1.log', 'wb'), stderr=subprocess.STDOUT)
    for _ in range(100):
        time.sleep(0.2)
        if b' ready.' in open(RUN + '/x1.log', 'rb').read():
            break
    a = make_app(**conf)
    s = lambda n, *args, **kw: a.signature('wire.' + n, args=args, **kw)
    T = a.tasks
    r0 = rds(0)
    try:
        # events are off without -E: enable by remote
        m = MON.mark()
        r1 = T['wire.add'].delay(1, 1)
        wait_state(a, r1.id)
        got = [a.control.enable_events(reply=True), a.control.enable_events(reply=True)]
        r2 = T['wire.add'].delay(2, 2)
        wait_state(a, r2.id)
        time.sleep(0.5)
        got.append(a.control.disable_events(reply=True))
        save('control_events_toggle', 'worker started without -E: enable_events twice, then disable_events; extended results', 'control.enable_events(); control.disable_events()', {'python_return': got, 'without': r1.id, 'with': r2.id, 'results': result_keys([r1.id, r2.id]), 'events': events_from(MON.since(m))})

        # reserved and unacked while the only child is busy, prefetch 4
        a.control.enable_events()
        slow = [T['wire.slow'].delay(4) for _ in range(7)]
        late = T['wire.reject'].apply_async((False,), countdown=40)
        time.sleep(1)
        a.control.purge()
        # revoke by stamped headers of a running task
        for x in slow:
            a.control.revoke(x.id)
        a.control.revoke(slow[0].id, terminate=True)
        time.sleep(2)
        sig = s('slow', 20)
        sig.stamp(mtask='kill-me')
        res = sig.apply_async()
        time.sleep(1)
        m = MON.mark()
        got = a.control.revoke_by_stamped_headers({'mtask': ['kill-me']}, terminate=True, reply=True)
        time.sleep(1)
        sig2 = s('add', 1, 2)
        sig2.stamp(mtask='kill-me')
        res2 = sig2.apply_async()
        time.sleep(1)
        lines = MON.since(m)
        save('run_revoked_by_stamp', 'terminate a running task by stamp, then a later task with the same stamp', "revoke_by_stamped_headers({'mtask': ['kill-me']}, terminate=True)", {'python_return': got, 'ids': [res.id, res2.id], 'results': result_keys([res.id, res2.id]), 'events': events_from(lines), 'pidbox': control_lines(lines)})

        # unregistered task, undecodable body, non-task message, wrong content type
        for name, push in [
            ('unregistered', lambda: a.send_task('no.such.task', (1,), task_id='unreg-1').id),
            ('undecodable', lambda: r0.lpush('celery', json.dumps({'body': base64.b64encode(b'{nope').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {'task': 'wire.add', 'id': 'bad-1', 'lang': 'py'}, 'properties': {'delivery_tag': 'bad-tag-1', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64', 'delivery_mode': 2, 'priority': 0}}))),
            ('not_accepted', lambda: T['wire.add'].apply_async((1, 1), serializer='pickle').id),
            ('not_a_task', lambda: r0.lpush('celery', json.dumps({'body': base64.b64encode(b'{"hello": 1}').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {}, 'properties': {'delivery_tag': 'bad-tag-2', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64'}}))),
            ('minimal_headers', lambda: r0.lpush('celery', json.dumps({'body': base64.b64encode(b'[[20, 22], {}, {}]').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {'task': 'wire.add', 'id': 'min-1'}, 'properties': {'delivery_tag': 'min-tag-1', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64'}}))),
            ('minimal_headers_null_embed', lambda: r0.lpush('celery', json.dumps({'body': base64.b64encode(b'[[20, 22], {}, null]').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {'task': 'wire.add', 'id': 'min-2', 'lang': 'rs'}, 'properties': {'delivery_tag': 'min-tag-2', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64'}}))),
            ('plain_body_encoding', lambda: r0.lpush('celery', json.dumps({'body': '[[20, 23], {}, {}]', 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {'task': 'wire.add', 'id': 'min-3'}, 'properties': {'delivery_tag': 'min-tag-3', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}}}))),
            ('v1_minimal', lambda: r0.lpush('celery', json.dumps({'body': base64.b64encode(b'{"task": "wire.add", "id": "v1-1", "args": [20, 24], "kwargs": {}}').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {}, 'properties': {'delivery_tag': 'v1-tag-1', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64'}}))),
            ('bad_eta', lambda: r0.lpush('celery', json.dumps({'body': base64.b64encode(b'[[20, 22], {}, {}]').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {'task': 'wire.add', 'id': 'eta-1', 'eta': 'tomorrow'}, 'properties': {'delivery_tag': 'eta-tag-1', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64'}}))),
        ]:
            rds(1).flushdb()
            m = MON.mark()
            pos = len(open(RUN + '/x1.log', 'rb').read())
            got = push()
            time.sleep(1.2)
            lines = MON.since(m)
            save(f'edge_{name}', f'worker reaction to a message: {name}', name, {'sent': got, 'alive': p.poll() is None, 'backend_keys_db1': dump_keys(rds(1)), 'db0_left': {k: v for k, v in dump_keys(r0).items() if not k.startswith('_kombu')}, 'events': events_from(lines),
                                                                               'worker_log': open(RUN + '/x1.log', 'rb').read()[pos:][-1500:], 'monitor': [x for x in lines if not is_event(x)]})

        # child killed: WorkerLostError
        rds(1).flushdb()
        m = MON.mark()
        res = T['wire.slow'].delay(9)
        time.sleep(1)
        act = a.control.inspect(timeout=1.5).active()
        os.kill(act['x1@wire'][0]['worker_pid'], signal.SIGKILL)
        time.sleep(2)
        lines = MON.since(m)
        save('run_worker_lost', 'SIGKILL of the child that runs a task (early ack)', 'kill -9 child', {'id': res.id, 'results': result_keys([res.id]), 'events': events_from(lines)})

        # cold shutdown with unacked messages
        slow = [T['wire.slow'].delay(8) for _ in range(3)]
        time.sleep(1)
        m = MON.mark()
        before = dump_keys(r0)
        p.send_signal(signal.SIGQUIT)
        p.wait(20)
        time.sleep(0.3)
        save('trace_redis_cold_shutdown', 'SIGQUIT with one running (acked early) and two prefetched tasks', 'kill -QUIT worker', {'exit_code': p.returncode, 'before': before, 'after': dump_keys(r0), 'monitor': MON.since(m)})
    finally:
        if p.poll() is None:
            p.terminate()

    # visibility timeout: a message lost by another consumer, and an ETA longer than the timeout
    flushall()
    vconf = {'broker_transport_options': {'visibility_timeout': 2, 'unacked_restore_interval': 1, 'unacked_restore_throttle': 1}}
    p = start_worker('x2@wire', RUN + '/x2.log', conf=vconf)
    av = make_app(**vconf)
    try:
        env = {'body': base64.b64encode(b'[[30, 3], {}, {}]').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {'task': 'wire.add', 'id': 'lost-1'}, 'properties': {'delivery_tag': 'lost-tag-1', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64', 'priority': 0}}
        m = MON.mark()
        r0.hset('unacked', 'lost-tag-1', json.dumps([env, '', 'celery']))
        r0.zadd('unacked_index', {'lost-tag-1': time.time() - 1})
        time.sleep(4)
        save('trace_redis_visibility_restore', 'restore of a message whose visibility timeout (2 s) passed', 'HSET unacked / ZADD unacked_index by hand, worker sweeps every second', {'result': dump_keys(rds(1)), 'monitor': [x for x in MON.since(m) if not is_event(x)]})
        m = MON.mark()
        res = av.tasks['wire.echo'].apply_async(('eta',), countdown=6)
        time.sleep(9)
        lines = MON.since(m)
        save('trace_redis_eta_beyond_visibility', 'countdown 6 s with a visibility timeout of 2 s: the same task is delivered and run more than once', 'echo.apply_async(countdown=6)', {'id': res.id, 'events': events_about(events_from(lines), res.id), 'monitor': [x for x in lines if not is_event(x) and 'BRPOP' not in x]})
    finally:
        p.terminate()
        p.wait(30)

    # poison message: no id header
    flushall()
    p = start_worker('x3@wire', RUN + '/x3.log')
    try:
        m = MON.mark()
        r0.lpush('celery', json.dumps({'body': base64.b64encode(b'[[20, 22], {}, {}]').decode(), 'content-encoding': 'utf-8', 'content-type': 'application/json', 'headers': {'task': 'wire.add'}, 'properties': {'delivery_tag': 'noid-1', 'delivery_info': {'exchange': '', 'routing_key': 'celery'}, 'body_encoding': 'base64'}}))
        time.sleep(5)
        save('edge_missing_id', 'a protocol 2 message without the id header: KeyError counts as a connection error on Redis, so the worker reconnects and takes it again for ever', 'LPUSH celery <headers without id>', {'alive': p.poll() is None, 'worker_log': open(RUN + '/x3.log', 'rb').read()[-5000:], 'monitor': [x for x in MON.since(m) if 'noid-1' in x]})
    finally:
        r0.delete('celery')
        time.sleep(2)
        p.terminate()
        try:
            p.wait(20)
        except subprocess.TimeoutExpired:
            p.kill()
    flushall()

    # other result settings, in process (no worker): compressed, pickled, extended, expiry, database tables
    flushall()
    for name, conf in [('compressed', {'result_compression': 'gzip'}), ('pickle', {'result_serializer': 'pickle', 'accept_content': ['json', 'pickle']}), ('prefix', {'result_backend_transport_options': {'global_keyprefix': 'pre'}}),
                       ('no_expiry', {'result_expires': 0}), ('failure_expires', {'result_failure_expires': 60}), ('extended', {'result_extended': True}), ('msgpack', {'result_serializer': 'msgpack', 'accept_content': ['json', 'msgpack']}), ('unordered_chord', {'result_backend_transport_options': {'result_chord_ordered': False}})]:
        flushall()
        ax = make_app(**conf)
        ax.backend.store_result('tid-1', {'a': 1}, 'SUCCESS')
        ax.backend.store_result('tid-2', ValueError('bad'), 'FAILURE', traceback='TB')
        save(f'result_option_{name}', f'result records with {conf}', f'backend.store_result(...) with {conf}', {'keys': dump_keys(rds(1))})
    import sqlite3
    db = RUN + '/res.sqlite'
    if os.path.exists(db):
        os.unlink(db)
    for ext in (False, True):
        ad = make_app(backend='db+sqlite:///' + db, result_extended=ext, result_serializer='json', database_create_tables_at_setup=True)
        ad.backend.store_result(f'tid-{ext}', {'a': 1}, 'SUCCESS')
        ad.backend.store_result(f'tid-f-{ext}', ValueError('bad'), 'FAILURE', traceback='TB')
        g = ad.GroupResult(f'gid-{ext}', [ad.AsyncResult('tid-1'), ad.AsyncResult('tid-2')])
        g.save()
    con = sqlite3.connect(db)
    con.text_factory = bytes
    save('result_database', 'SQL schema and rows of the database backend (sqlite)', 'db+sqlite backend, store_result and GroupResult.save, result_serializer=json',
         {'schema': [x[0] for x in con.execute('select sql from sqlite_master')], 'celery_taskmeta': [list(map(b, x)) for x in con.execute('select * from celery_taskmeta')], 'celery_tasksetmeta': [list(map(b, x)) for x in con.execute('select * from celery_tasksetmeta')]})
    import shutil
    fs = RUN + '/fsres'
    shutil.rmtree(fs, ignore_errors=True)
    os.makedirs(fs)
    af = make_app(backend='file://' + fs)
    af.backend.store_result('tid-1', {'a': 1}, 'SUCCESS')
    af.GroupResult('gid-1', [af.AsyncResult('tid-1')]).save()
    save('result_filesystem', 'files of the filesystem backend', 'file:// backend', {f: open(os.path.join(fs, f), 'rb').read() for f in sorted(os.listdir(fs))})
    # result tuples
    from celery.result import AsyncResult, GroupResult
    aa = make_app()
    parent = aa.AsyncResult('p')
    child = AsyncResult('c', parent=parent, app=aa)
    gr = GroupResult('g', [child, aa.AsyncResult('d')], parent=parent, app=aa)
    save('result_tuples', 'as_tuple forms used in children and taskset records', 'AsyncResult.as_tuple / GroupResult.as_tuple', {'plain': aa.AsyncResult('x').as_tuple(), 'with_parent': child.as_tuple(), 'group': gr.as_tuple(), 'group_json': json.dumps(gr.as_tuple())})


def cmd_reserved():
    """inspect against a saturated worker (one child, prefetch 4)."""
    flushall()
    p = start_worker('r1@wire', RUN + '/r1.log', extra=('-c', '1'))
    a = make_app()
    try:
        for _ in range(7):
            a.tasks['wire.slow'].delay(6)
        a.tasks['wire.add'].apply_async((1, 1), countdown=40)
        time.sleep(1.5)
        m = MON.mark()
        got, secs = {}, {}
        for name in ('ping', 'active', 'reserved', 'scheduled'):
            t0 = time.time()
            first = []
            got[name] = getattr(a.control.inspect(timeout=2.0, callback=lambda body: first.append(time.time() - t0)), name)()
            secs[name] = first[:1]
        save('control_reserved', 'inspect of a saturated worker (concurrency 1, prefetch 4), seconds to the first reply, and the Redis keys at that moment', 'inspect().ping()/.active()/.reserved()/.scheduled()', {'python_return': got, 'seconds_to_reply': secs, 'db0': dump_keys(rds(0)), 'pidbox': control_lines(MON.since(m))})
    finally:
        a.control.purge()
        p.send_signal(signal.SIGQUIT)
        p.wait(40)
        flushall()


# ------------------------------------------------------------------ RabbitMQ
PROXY_PORT = int(os.environ.get('WIRE_PROXY_PORT', '7308'))


class Proxy:
    """Loopback TCP proxy that records AMQP frames in both directions."""

    def __init__(self):
        self.frames = []
        self.n = 0
        self.lock = threading.Lock()
        self.srv = socket.create_server(('127.0.0.1', PROXY_PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            c, _ = self.srv.accept()
            u = socket.create_connection(('127.0.0.1', APORT))
            self.n += 1
            for src, dst, way in ((c, u, 'client'), (u, c, 'server')):
                threading.Thread(target=self._pump, args=(src, dst, way, self.n), daemon=True).start()

    def _pump(self, src, dst, way, conn):
        buf = b''
        first = way == 'client'
        try:
            while True:
                data = src.recv(65536)
                if not data:
                    break
                dst.sendall(data)
                buf += data
                if first and len(buf) >= 8:
                    self._add(conn, way, buf[:8], 'ProtocolHeader', None, 0)
                    buf, first = buf[8:], False
                while not first and len(buf) >= 7:
                    size = int.from_bytes(buf[3:7], 'big')
                    if len(buf) < size + 8:
                        break
                    self._frame(conn, way, buf[:size + 8])
                    buf = buf[size + 8:]
        except OSError:
            pass
        for s in (src, dst):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _frame(self, conn, way, raw):
        import pamqp.frame
        kind = {1: 'method', 2: 'header', 3: 'body', 8: 'heartbeat'}.get(raw[0])
        ch = int.from_bytes(raw[1:3], 'big')
        name, args = kind, None
        if kind == 'method':
            try:
                _, _, f = pamqp.frame.unmarshal(raw)
                name, args = f.name, {k: b(v) for k, v in dict(f).items()}
            except Exception as e:
                args = repr(e)
        elif kind == 'header':
            try:
                _, _, f = pamqp.frame.unmarshal(raw)
                args = {k: b(v) for k, v in dict(f.properties).items() if v is not None}
            except Exception as e:
                args = repr(e)
        elif kind == 'body':
            args = raw[7:-1]
        self._add(conn, way, raw, name, args, ch)

    def _add(self, conn, way, raw, name, args, ch):
        with self.lock:
            self.frames.append({'conn': conn, 'from': way, 'channel': ch, 'frame': name, 'fields': args, 'bytes': {'base64': base64.b64encode(raw).decode()}})

    def mark(self):
        return len(self.frames)

    def since(self, m, way=None, drop=('heartbeat',)):
        return [f for f in self.frames[m:] if (way is None or f['from'] == way) and f['frame'] not in drop]


def amqp_url(port):
    return f'amqp://guest:guest@127.0.0.1:{port}//'


def drain_queue(chan, q):
    out = []
    while True:
        msg = chan.basic_get(q, no_ack=True)
        if not msg:
            return out
        props = {k: v for k, v in msg.properties.items()}
        out.append({'queue': q, 'delivery_info': msg.delivery_info, 'properties': props, 'body': msg.body if isinstance(msg.body, bytes) else msg.body.encode()})


def rmqctl(*args):
    command = os.environ.get('WIRE_RABBITMQCTL', 'rabbitmqctl')
    return subprocess.run([command, '-q', *args], capture_output=True, text=True).stdout


TOPO = (('list_exchanges', 'name', 'type', 'durable', 'auto_delete', 'arguments'),
        ('list_queues', 'name', 'durable', 'auto_delete', 'exclusive', 'arguments', 'type', 'messages'),
        ('list_bindings', 'source_name', 'destination_name', 'destination_kind', 'routing_key', 'arguments'))


def topology():
    return {t[0]: [dict(zip(t[1:], l.split('\t'))) for l in rmqctl(*t).splitlines()[1:]] for t in TOPO}


def cmd_amqp():
    """Task messages as published to RabbitMQ: wire frames plus what basic.get returns."""
    import amqp
    px = Proxy()
    c = amqp.Connection(host=f'127.0.0.1:{APORT}', userid='guest', password='guest')
    c.connect()
    ch = c.channel()

    def run(a, cases, prefix, queues=('celery',)):
        for name, call, fn in cases:
            m = px.mark()
            try:
                res = fn()
            except Exception as e:
                res = repr(e)
            time.sleep(0.25)
            frames = px.since(m)
            got = []
            for q in queues:
                try:
                    got += drain_queue(ch, q)
                except Exception as e:
                    got.append({'queue': q, 'error': repr(e)})
                    break
            save(f'amqp_{prefix}{name}', f'RabbitMQ frames and stored messages for: {call}', call, {'frames': frames, 'messages': got}, returned=repr(res))

    a = make_app(broker=amqp_url(PROXY_PORT), accept_content=['json', 'pickle', 'yaml', 'msgpack'])
    want = {'delay_simple', 'delay_types', 'countdown', 'eta_aware', 'expires_seconds', 'priority_0', 'priority_4', 'priority_9', 'link', 'link_error', 'chain2', 'group3', 'chord2',
            'stamps_visitor', 'ignore_result', 'retries_header', 'custom_headers', 'reply_to', 'extra_properties', 'time_limits', 'chain_group_task'}
    run(a, [x for x in message_cases(a) if x[0] in want], '')
    T = a.tasks['wire.echo']
    run(a, [(f'serializer_{s}', f'echo.apply_async((1, "a"), serializer={s!r})', lambda s=s: T.apply_async((1, 'a'), {'b': 'x'}, serializer=s)) for s in ('pickle', 'yaml', 'msgpack')]
        + [(f'compression_{s}', f'echo.apply_async(("z"*400,), compression={s!r})', lambda s=s: T.apply_async(('z' * 400,), compression=s)) for s in ('zlib', 'bzip2', 'zstd')], '')
    a1 = make_app(broker=amqp_url(PROXY_PORT), task_protocol=1)
    run(a1, [x for x in message_cases(a1) if x[0] in {'delay_simple', 'countdown', 'link'}], 'v1_')
    ac = make_app(broker=amqp_url(PROXY_PORT), broker_transport_options={'confirm_publish': True})
    run(ac, [x for x in message_cases(ac) if x[0] == 'delay_simple'], 'confirm_')
    ar = make_app(broker=amqp_url(PROXY_PORT), backend='rpc://')
    run(ar, [x for x in message_cases(ar) if x[0] == 'delay_simple'], 'rpc_')
    ev = make_app(broker=amqp_url(PROXY_PORT), task_send_sent_event=True)
    run(ev, [x for x in message_cases(ev) if x[0] == 'delay_simple'], 'sentevent_')
    mp = make_app(broker=amqp_url(PROXY_PORT), task_queues=[Queue('prio', Exchange('prio', 'direct'), routing_key='prio', max_priority=10, expires=60.0, message_ttl=30.0, max_length=100, max_length_bytes=10000)], task_default_queue='prio')
    run(mp, [('queue_arguments', 'Queue(max_priority=10, expires=60, message_ttl=30, max_length=100, max_length_bytes=10000)', lambda: mp.tasks['wire.add'].apply_async((1, 1), priority=7))], '', ('prio',))
    q = make_app(broker=amqp_url(PROXY_PORT), task_default_queue='quo', task_default_queue_type='quorum', task_default_exchange_type='topic', broker_native_delayed_delivery_queue_type='quorum')
    run(q, [('quorum_delay_simple', 'default queue type quorum', lambda: q.tasks['wire.add'].delay(1, 1)),
            ('quorum_countdown', 'default queue type quorum, countdown=30 (native delayed delivery)', lambda: q.tasks['wire.add'].apply_async((1, 1), countdown=30))], '', ('quo',))
    save('amqp_topology_after_publish', 'rabbitmqctl listing after producers only', 'rabbitmqctl list_*', topology())
    c.close()


def cmd_amqprun():
    """A real worker on RabbitMQ, observed through the proxy and by queues bound to the event/result exchanges."""
    import amqp
    px = Proxy()
    c = amqp.Connection(host=f'127.0.0.1:{APORT}', userid='guest', password='guest')
    c.connect()
    ch = c.channel()
    ch.exchange_declare('celeryev', 'topic', durable=True, auto_delete=False)
    ch.queue_declare('spy.ev', auto_delete=True)
    ch.queue_bind('spy.ev', 'celeryev', '#')
    ch.queue_purge('celery') if 'celery\t' in rmqctl('list_queues', 'name', 'messages') else None
    p = start_worker('a1@wire', RUN + '/amqp_a1.log', broker=amqp_url(PROXY_PORT), backend='rpc://')
    try:
        time.sleep(3)
        save('amqp_trace_worker_startup', 'every AMQP frame of a worker starting', 'celery -A record worker -n a1@wire -c 2 -E', {'frames': px.since(0)})
        save('amqp_topology_worker', 'broker objects with one worker', 'rabbitmqctl list_*', topology())
        save('amqp_event_worker_online', 'worker-online and first heartbeats', 'worker start', {'events': drain_queue(ch, 'spy.ev')})
        a = make_app(broker=amqp_url(PROXY_PORT), backend='rpc://', task_send_sent_event=True)
        s = lambda n, *args, **kw: a.signature('wire.' + n, args=args, **kw)
        T = a.tasks
        runs = [('success', 'add.delay(2,3).get()', lambda: T['wire.add'].delay(2, 3)), ('failure', 'boom.delay()', lambda: T['wire.boom'].delay()),
                ('retry', 'retry.delay(5)', lambda: T['wire.retry'].delay(5)), ('reject', 'reject.delay(False)', lambda: T['wire.reject'].delay(False)),
                ('reject_requeue', 'reject.delay(True)', lambda: T['wire.reject'].delay(True)), ('countdown', 'add.apply_async((1,1), countdown=1)', lambda: T['wire.add'].apply_async((1, 1), countdown=1)),
                ('chain', 'chain(add.s(1,1), add.s(2))()', lambda: chain(s('add', 1, 1), s('add', 2), app=a)()), ('link_error', 'boom with link_error', lambda: T['wire.boom'].apply_async((), link_error=[s('onerr'), s('onerr_old')])),
                ('progress', 'progress.delay() custom state', lambda: T['wire.progress'].delay())]
        for name, call, fn in runs:
            m = px.mark()
            res = fn()
            try:
                got = res.get(timeout=2.5 if name in ('reject', 'ignore') else 6)
            except BaseException as e:
                got = repr(e)
            time.sleep(0.7)
            save(f'amqp_run_{name}', f'frames and events for {call}', call, {'id': res.id, 'python_result': got, 'events': drain_queue(ch, 'spy.ev'), 'frames': px.since(m)})
        sched = T['wire.add'].apply_async((1, 1), countdown=90)
        T['wire.slow'].delay(4)
        time.sleep(1)
        insp = a.control.inspect(timeout=1.2)
        for name, call, fn in [('ping', 'control.ping()', lambda: a.control.ping(timeout=1)), ('ping_destination', "control.ping(destination=['a1@wire'])", lambda: a.control.ping(destination=['a1@wire'], timeout=1)),
                               ('active', 'inspect().active()', insp.active), ('scheduled', 'inspect().scheduled()', insp.scheduled), ('stats', 'inspect().stats()', insp.stats),
                               ('active_queues', 'inspect().active_queues()', insp.active_queues), ('registered', 'inspect().registered()', insp.registered), ('revoke', 'control.revoke(id, reply=True)', lambda: a.control.revoke(sched.id, reply=True)),
                               ('pool_grow', 'control.pool_grow(1, reply=True) (prefetch change)', lambda: a.control.pool_grow(1, reply=True)), ('rate_limit', "control.rate_limit('wire.add','10/m',reply=True)", lambda: a.control.rate_limit('wire.add', '10/m', reply=True)),
                               ('add_consumer', "control.add_consumer('extra', reply=True)", lambda: a.control.add_consumer('extra', reply=True)), ('cancel_consumer', "control.cancel_consumer('extra', reply=True)", lambda: a.control.cancel_consumer('extra', reply=True))]:
            m = px.mark()
            got = fn()
            time.sleep(0.3)
            save(f'amqp_control_{name}', f'frames for {call}', call, {'python_return': got, 'frames': px.since(m)})
        m = px.mark()
        p2 = start_worker('a2@wire', RUN + '/amqp_a2.log', broker=amqp_url(PROXY_PORT), backend='rpc://')
        time.sleep(3)
        fr = px.since(m)
        save('amqp_mingle', 'hello request/replies while a second worker joins', 'celery worker -n a2@wire', {'frames': [f for f in fr if f['frame'] in ('header', 'body', 'Basic.Publish')], 'topology': topology(), 'events': drain_queue(ch, 'spy.ev')[:10]})
        p2.terminate()
        p2.wait(30)
        drain_queue(ch, 'spy.ev')
        m = px.mark()
        a.control.shutdown()
        p.wait(40)
        time.sleep(0.3)
        save('amqp_control_shutdown', 'shutdown broadcast, worker-offline and closing frames', 'control.shutdown()', {'events': drain_queue(ch, 'spy.ev'), 'frames': px.since(m), 'exit_code': p.returncode})

        # worker on a quorum queue: global qos detection and native delayed delivery
        m = px.mark()
        pq = start_worker('q1@wire', RUN + '/amqp_q1.log', broker=amqp_url(PROXY_PORT), backend='rpc://', conf={'task_default_queue': 'quo2', 'task_default_queue_type': 'quorum', 'task_default_exchange_type': 'topic', 'task_default_exchange': 'quo2', 'task_default_routing_key': 'quo2'})
        time.sleep(3)
        fr = px.since(m)
        aq = make_app(broker=amqp_url(PROXY_PORT), backend='rpc://', task_default_queue='quo2', task_default_queue_type='quorum', task_default_exchange_type='topic', task_default_exchange='quo2', task_default_routing_key='quo2')
        save('amqp_quorum_worker_startup', 'worker on a quorum default queue: qos per channel, delayed delivery declaration', 'celery worker with task_default_queue_type=quorum', {'frames': [f for f in fr if f['frame'] not in ('body',)], 'topology': topology()})
        m = px.mark()
        t0 = time.time()
        res = aq.tasks['wire.add'].apply_async((1, 1), countdown=3)
        try:
            got = res.get(timeout=10)
        except BaseException as e:
            got = repr(e)
        save('amqp_run_native_delayed', 'countdown=3 through native delayed delivery', 'add.apply_async((1,1), countdown=3)', {'python_result': got, 'seconds': time.time() - t0, 'frames': px.since(m), 'events': drain_queue(ch, 'spy.ev')})
        pq.terminate()
        pq.wait(30)
    finally:
        if p.poll() is None:
            p.terminate()
    c.close()


def cmd_amqpextra():
    """Poison and odd messages on RabbitMQ."""
    import amqp
    c = amqp.Connection(host=f'127.0.0.1:{APORT}', userid='guest', password='guest')
    c.connect()
    ch = c.channel()
    for name, hdr, body in [('minimal', {'task': 'wire.add', 'id': 'm-1'}, b'[[1, 2], {}, {}]'), ('missing_id', {'task': 'wire.add'}, b'[[1, 2], {}, {}]')]:
        log = RUN + f'/amqp_x_{name}.log'
        p = start_worker('ax@wire', log, broker=amqp_url(APORT))
        ch.queue_purge('celery')
        rds(1).flushdb()
        ch.basic_publish(amqp.Message(body, content_type='application/json', content_encoding='utf-8', application_headers=hdr), exchange='', routing_key='celery')
        time.sleep(4)
        code = p.poll()
        if code is None:
            p.terminate()
        p.wait(30)
        save(f'amqp_edge_{name}', f'RabbitMQ message with headers {hdr}, no correlation_id, no reply_to', 'basic.publish', {'exit_code_before_stop': code, 'results': dump_keys(rds(1)), 'worker_log': open(log, 'rb').read()[-2500:]})
        ch.queue_purge('celery')
    c.close()


def cmd_flower():
    """What Flower asks of a worker and what it shows for it (unauthenticated API on loopback)."""
    import urllib.request
    flushall()
    p = start_worker('f1@wire', RUN + '/f1.log')
    m = MON.mark()
    fl = subprocess.Popen([sys.executable, '-m', 'celery', '-b', BROKER, 'flower', '--port=7305', '--address=127.0.0.1'], cwd=HERE, env=dict(os.environ, FLOWER_UNAUTHENTICATED_API='true'),
                          stdout=open(RUN + '/flower.log', 'wb'), stderr=subprocess.STDOUT)
    try:
        time.sleep(7)
        a = make_app(task_send_sent_event=True)
        ok, bad = a.tasks['wire.add'].delay(2, 3), a.tasks['wire.boom'].delay()
        time.sleep(2)
        get = lambda path: json.loads(urllib.request.urlopen('http://127.0.0.1:7305' + path, timeout=20).read())
        workers, tasks = get('/api/workers?refresh=1'), get('/api/tasks')
        one = get('/api/workers?refresh=1&workername=f1@wire')
        lines = MON.since(m)
        reqs = [x for x in control_lines(lines) if 'view' in x]
        save('flower_session', 'Flower 2.2.0 started next to one worker: its control requests, the replies, and its own API view of workers and tasks', 'celery flower; GET /api/workers?refresh=1, /api/workers?workername=, /api/tasks',
             {'ids': [ok.id, bad.id], 'api_workers': workers, 'api_worker_single': one, 'api_tasks': tasks, 'control': reqs, 'subscribe': [x for x in lines if 'PSUBSCRIBE' in x]})
    finally:
        fl.terminate()
        p.terminate()
        p.wait(30)
        flushall()


def cmd_events():
    """One raw example of every event type, picked from the run_*, trace_* and gossip_* files."""
    seen = {}
    for f in sorted(os.listdir(VECTORS)):
        if not f.endswith('.json') or f.startswith('event_types'):
            continue
        ev = json.load(open(os.path.join(VECTORS, f)))['captured']
        for e in (ev.get('events') or []) if isinstance(ev, dict) else []:
            body = e['view']['body_bytes'] if 'view' in e else e['body']
            data = json.loads(body)
            for x in data if isinstance(data, list) else [data]:
                key = x['type'] + (' (AMQP)' if 'view' not in e else '')
                seen.setdefault(key, {'from_file': f, **{k: v for k, v in e.items()}})
    save('event_types', 'one raw example per event type and transport, taken unchanged from the other files', 'see from_file', dict(sorted(seen.items())))


GROUPS = [
    ('msg_v1_', 'Protocol 1 messages on Redis (task_protocol=1)'), ('msg_', 'Raw Redis list payloads, protocol 2 (lists, bindings and the commands of one publish)'),
    ('table_', 'Tables computed by kombu: JSON types, serializers, compression'),
    ('run_', 'Whole runs on a real worker (Redis): result keys, events, commands'), ('chord_', 'Chord keys mid-flight'), ('edge_', 'Odd or broken messages and what the worker did'),
    ('result_', 'Result records under other settings and backends'), ('event_', 'Worker events'), ('control_', 'Remote control: request and reply envelopes on Redis, Python return value'),
    ('gossip_', 'Elections'), ('flower_', 'Flower'), ('trace_redis_', 'MONITOR traces'), ('amqp_control_', 'Remote control on RabbitMQ (frames)'), ('amqp_run_', 'Whole runs on RabbitMQ (frames, events, rpc results)'), ('amqp_', 'RabbitMQ frames, stored messages, topology'),
]


def cmd_index():
    """Write README.md from the vector files."""
    rows = {}
    n = 0
    for f in sorted(os.listdir(VECTORS)):
        if f.endswith('.json'):
            d = json.load(open(os.path.join(VECTORS, f)))
            assert {'about', 'celery', 'call', 'captured'} <= set(d), f
            g = max((g for g, _ in GROUPS if f.startswith(g)), key=len, default='other')
            rows.setdefault(g, []).append((f, d['about'], d['call']))
            n += 1
    out = ['# Captured vectors', '', f'{n} files from Celery {celery_mod.__version__}, kombu {kombu_mod.__version__}, Python {sys.version.split()[0]}, Redis 7.0.15, RabbitMQ 3.10.8. Made by `record.py` one folder up (also the app module of the workers).', '',
           'Form: `{"about", "celery", "kombu", "call", "captured"}`, sometimes `returned`. Byte strings are text when they are UTF-8, otherwise `{"base64": ...}`. Ids, clocks, times and pids are what the wire carried; paths of the capture machine are shortened.',
           '', '* `lists[].raw`, `events[].raw`, `pidbox[].raw`: the exact envelope text; `view.body_bytes` next to it is the decoded body.',
           '* `monitor` lines are MONITOR output (`\\xNN` escapes, shown as Redis printed them); `[db lua]` lines are commands inside scripts. Lines of the capture client itself (KEYS, TYPE, LRANGE, PTTL, FLUSH) may appear.',
           '* AMQP `frames`: one object per frame with `from` client/server, decoded `fields` and raw `bytes`. `messages` are what basic.get returned.',
           '* db 0 is the broker, db 1 the result backend.', '']
    for g, title in GROUPS:
        if g in rows:
            out += [f'## {title} ({len(rows[g])})', '', '| File | About |', '|---|---|']
            out += [f'| `{f}` | {a.replace("|", chr(92) + "|")} |' for f, a, c in rows[g]]
            out.append('')
    open(os.path.join(VECTORS, 'README.md'), 'w').write('\n'.join(out))
    print(n, 'vectors')


MON = None


def main(argv):
    global MON
    cmd = argv[1]
    sys.path.insert(0, HERE)
    sys.modules['record'] = sys.modules['__main__']
    if cmd in ('messages', 'serializers', 'redisrun', 'redistail', 'extra', 'reserved', 'flower'):
        MON = Monitor()
    globals()['cmd_' + cmd]()


if __name__ == '__main__':
    main(sys.argv)
