// The cases of e2e/clients with etcd3, the client for Node; it goes through @grpc/grpc-js, a gRPC stack of its own.
'use strict';

const assert = require('assert/strict');
const fs = require('fs');
const http = require('http');
const path = require('path');
const { Etcd3 } = require('etcd3');

const HOSTS = process.env.CLIENT_ENDPOINTS.split(',').map(a => 'http://' + a);
const CASE_MS = 180000;
// So long the one that must wait is given to do the wrong thing; a slow machine makes the test weaker, never red.
const WRONG_MS = 300;
const NUMBERS = 300;

const open = [];
function connect(options = {}) {
  const client = new Etcd3({ hosts: HOSTS, dialTimeout: 10000, ...options });
  open.push(client);
  return client;
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const number = n => Number(n); // revisions come as strings

// A promise that is still open after a while.
async function waits(promise, what) {
  const winner = await Promise.race([promise.then(() => 'done', () => 'failed'), sleep(WRONG_MS).then(() => 'waits')]);
  assert.equal(winner, 'waits', what);
}

function control(action) {
  return new Promise((resolve, reject) => {
    const request = http.request(process.env.CLIENT_CONTROL + action, { method: 'POST' }, answer => {
      let text = '';
      answer.on('data', part => (text += part));
      answer.on('end', () => (answer.statusCode === 200 ? resolve(text) : reject(new Error(`${action}: ${text}`))));
    });
    request.on('error', reject);
    request.end();
  });
}

async function kv(c, p) {
  const first = await c.put(p + 'a').value('1').exec();
  const second = await c.put(p + 'a').value('2').getPrevious();
  assert.equal(second.value.toString(), '1');
  await c.put(p + 'b').value('3');
  await c.put(p + 'c').value(Buffer.from([0, 255]));
  const got = await c.get(p + 'a').exec();
  assert.deepEqual([got.kvs[0].value.toString(), got.kvs[0].version, got.kvs[0].create_revision], ['2', '2', first.header.revision]);
  const down = await c.getAll().prefix(p).sort('Key', 'Descend').limit(2).exec();
  assert.deepEqual([down.kvs.map(k => k.key.toString()), down.more, down.count], [[p + 'c', p + 'b'], true, '3']);
  assert.deepEqual(down.kvs[0].value, Buffer.from([0, 255]));
  assert.equal(await c.get(p + 'a').revision(first.header.revision).string(), '1');
  assert.deepEqual(await c.getAll().prefix(p).keys(), [p + 'a', p + 'b', p + 'c']);
  const deleted = await c.delete().prefix(p).getPrevious();
  assert.equal(deleted.length, 3);
  assert.equal(await c.get(p + 'a').string(), null);
  await assert.rejects(async () => c.put('').value('x').exec(), /key is not provided/);
}

async function txn(c, p) {
  const create = () => c.if(p + 'a', 'Create', '==', 0)
    .then(c.put(p + 'a').value('1'), c.put(p + 'b').value('2'))
    .else(c.get(p + 'a'), c.delete().key(p + 'b'))
    .commit();
  const first = await create();
  const second = await create();
  assert.deepEqual([first.succeeded, second.succeeded], [true, false]);
  assert.equal(second.responses[0].response_range.kvs[0].value.toString(), '1');
  assert.equal(number(second.responses[1].response_delete_range.deleted), 1);
  // A transaction inside a transaction has no builder: the stub's own message.
  const put = key => ({ request_put: { key: Buffer.from(key), value: Buffer.from('x') } });
  const inner = { compare: [{ key: Buffer.from(p + 'a'), target: 'Value', result: 'Equal', value: Buffer.from('1') }], success: [put(p + 'd')] };
  const nested = await c.kv.txn({ success: [{ request_txn: inner }, { request_range: { key: Buffer.from(p + 'd') } }] });
  assert.equal(nested.responses[0].response_txn.succeeded, true);
  assert.equal(nested.responses[1].response_range.kvs[0].value.toString(), 'x');
  await assert.rejects(() => c.kv.txn({ success: [put(p), put(p)] }), /duplicate key/);
}

// All events of a prefix from a revision on, in the order of the client's notices. `enough` is asked after each.
function follow(c, p, revision, enough, onDisconnect = () => {}) {
  const seen = [];
  const watcher = c.watch().prefix(p).startRevision(String(revision)).withPreviousKV().watcher();
  return new Promise((resolve, reject) => {
    watcher.on('error', reject);
    watcher.on('disconnected', onDisconnect);
    let done = false;
    watcher.on('data', response => {
      for (const e of response.events) {
        if (done) return;
        seen.push({ type: e.type, revision: number(e.kv.mod_revision), key: e.kv.key.toString(), value: e.kv.value.toString(),
          before: e.prev_kv ? e.prev_kv.value.toString() : null });
        if (enough(seen)) {
          done = true;
          watcher.cancel().then(() => resolve(seen), reject);
        }
      }
    });
  });
}

async function watch(c, p) {
  const { header } = await c.put(p + 'a').value('1').exec();
  const live = follow(c, p, header.revision, seen => seen.length === 4);
  await c.put(p + 'a').value('2');
  await c.put(p + 'b').value('3');
  await c.delete().key(p + 'a');
  const told = (await live).map(e => `${e.type} ${e.key.slice(p.length)}=${e.value} (${e.before})`);
  assert.deepEqual(told, ['Put a=1 (null)', 'Put a=2 (1)', 'Put b=3 (null)', 'Delete a= (2)']);
  const filtered = await new Promise((resolve, reject) => {
    const watcher = c.watch().prefix(p).startRevision(header.revision).only('delete').watcher();
    watcher.on('data', r => watcher.cancel().then(() => resolve(r.events.map(e => e.type))));
    watcher.on('error', reject);
  });
  assert.deepEqual(filtered, ['Delete']);
}

// Each number until it is acknowledged: of a put whose member died nobody knows whether it was written.
async function writeNumbers(p) {
  const writer = connect({ defaultCallOptions: () => ({ deadline: Date.now() + 2000 }) });
  const end = Date.now() + CASE_MS;
  for (let i = 0; i < NUMBERS; ++i) {
    for (;;) {
      try {
        await writer.put(`${p}key${i % 7}`).value(i).exec();
        break;
      } catch (e) {
        if (Date.now() > end) throw e;
        await sleep(20);
      }
    }
    await sleep(2);
  }
}

// The member that has the watch is killed and comes back; the client resumes the watch by itself, on whatever member.
async function watchResume(c, p) {
  await control('/mark');
  const from = number((await c.put(p + 'begin').value('').exec()).header.revision) + 1;
  const steps = [[50, '/kill-watched'], [150, '/restart']];
  const acts = [];
  let broken = 0;
  const writer = writeNumbers(p);
  const seen = await follow(c, p, from, so_far => {
    if (steps.length > 0 && so_far.length >= steps[0][0]) {
      const [, action] = steps.shift();
      acts.push((acts[0] || Promise.resolve()).then(() => control(action)));
    }
    return so_far[so_far.length - 1].value === String(NUMBERS - 1);
  }, () => ++broken);
  await Promise.all([writer, ...acts]);
  assert.ok(broken > 0, 'the watch was not disconnected although its member was killed');
  const history = await follow(connect(), p, from, so_far => so_far.length === seen.length);
  assert.deepEqual(seen, history);
  for (let i = 1; i < seen.length; ++i) assert.ok(seen[i].revision > seen[i - 1].revision, `event ${i} goes back in time`);
  assert.equal(new Set(seen.map(e => e.value)).size, NUMBERS, 'acknowledged puts seen');
}

async function lease(c, p) {
  const brief = c.lease(5, { autoKeepAlive: false });
  const kept = c.lease(5);
  const lasting = c.lease(1000);
  let lost = false;
  kept.on('lost', () => (lost = true));
  const { header } = await brief.put(p + 'brief').value('').exec();
  await kept.put(p + 'kept').value('');
  await lasting.put(p + 'lasting').value('');
  assert.equal(number((await brief.keepaliveOnce()).TTL), 5);
  const left = await c.leaseClient.leaseTimeToLive({ ID: await lasting.grant(), keys: true });
  assert.deepEqual([left.grantedTTL, left.keys.map(String)], ['1000', [p + 'lasting']]);
  const gone = await follow(c, p + 'brief', header.revision, seen => seen[seen.length - 1].type === 'Delete');
  assert.equal(gone.length, 2);
  await sleep(6000);
  assert.equal(await c.get(p + 'kept').string(), '');
  assert.equal(lost, false, 'the lease that is kept alive was lost');
  await lasting.revoke();
  await kept.revoke();
  assert.deepEqual(await c.getAll().prefix(p).keys(), []);
  await assert.rejects(async () => c.leaseClient.leaseRevoke({ ID: await brief.grant() }), /lease not found/);
}

// etcd3's lock does not wait: whoever fails watches the key and tries again.
async function lockWhenFree(c, key) {
  for (;;) {
    const { header } = await c.get(key).exec();
    try {
      return await c.lock(key).ttl(60).acquire();
    } catch (e) {
      if (!/Failed to acquire a lock/.test(e.message)) throw e;
    }
    if ((await c.get(key).string()) !== null)
      await follow(c, key, number(header.revision) + 1, seen => seen[seen.length - 1].type === 'Delete');
  }
}

async function lock(c, p) {
  const key = p + 'lock';
  const other = connect();
  const first = await c.lock(key).ttl(60).acquire();
  await assert.rejects(other.lock(key).ttl(60).acquire(), /Failed to acquire a lock/);
  const waiting = lockWhenFree(other, key);
  await waits(waiting, 'both have the lock');
  await first.release();
  const second = await waiting;
  const third = lockWhenFree(c, key);
  await waits(third, 'the lock is not held');
  await other.leaseClient.leaseRevoke({ ID: await second.leaseId() }); // the holder died
  await (await third).release();
}

async function election(c, p) {
  const mine = c.election(p + 'leader', 60);
  const theirs = connect().election(p + 'leader', 60);
  assert.equal(await mine.leader(), undefined);
  const observer = await theirs.observe();
  const told = [];
  observer.on('change', leader => told.push(leader));
  const see = async leader => {
    while (!told.includes(leader)) await sleep(10);
  };
  const first = mine.campaign('one');
  await first.wait();
  await see('one');
  await first.proclaim('one again');
  await see('one again');
  const second = theirs.campaign('two');
  const won = second.wait();
  await waits(won, 'two leaders');
  assert.equal(await theirs.leader(), 'one again');
  await first.resign();
  await won;
  await see('two');
  assert.equal(await mine.leader(), 'two');
  await observer.cancel();
  await second.resign();
}

async function tls(_, p) {
  const file = name => fs.readFileSync(path.join(process.env.CLIENT_PKI, name));
  const client = (authority, name) => connect({
    hosts: 'https://' + process.env.CLIENT_TLS_ENDPOINT,
    credentials: { rootCertificate: file(authority + '.crt'),
      ...(name ? { certChain: file(name + '.crt'), privateKey: file(name + '.pk8') } : {}) },
  });
  const good = client('ca', 'alice');
  const { header } = await good.put(p + 'a').value('1').exec();
  const seen = await follow(good, p, header.revision, events => events.length === 1);
  assert.equal(seen[0].value, '1');
  for (const [authority, name] of [['ca', null], ['ca', 'stranger'], ['other', 'alice']]) {
    const bad = client(authority, name);
    await assert.rejects(async () => bad.put(p + 'a').value('2').options({ deadline: Date.now() + 3000 }).exec(), `authority ${authority}, client ${name}`);
  }
}

async function auth(c, p) {
  await c.put(p + 'a').value('1');
  const reader = await c.role('reader').create();
  await reader.grant({ permission: 'Read', range: c.range({ prefix: p }) });
  for (const [name, role] of [['root', 'root'], ['alice', 'reader']]) {
    const user = await c.user(name).create(name + '-secret');
    await user.addRole(role);
  }
  await c.auth.authEnable();
  const as = (username, password) => connect({ auth: { username, password } });
  const root = as('root', 'root-secret');
  try {
    await assert.rejects(async () => as('alice', 'guess').get(p + 'a').string(), /authentication failed/);
    const alice = as('alice', 'alice-secret');
    assert.equal(await alice.get(p + 'a').string(), '1');
    await assert.rejects(async () => alice.put(p + 'a').value('2').exec(), /permission denied/);
    await assert.rejects(async () => alice.get('elsewhere').string(), /permission denied/);
    await assert.rejects(async () => c.get(p + 'a').string(), /user name is empty/);
    assert.deepEqual((await (await root.user('alice')).roles()).map(r => r.name), ['reader']);
    // A right that is taken away ends at once, also for a token given out before.
    await root.user('alice').removeRole('reader');
    await assert.rejects(async () => alice.get(p + 'a').string(), /permission denied/);
    await root.put(p + 'a').value('2');
  } finally {
    await root.auth.authDisable();
  }
  await c.put(p + 'a').value('3');
}

async function stm(_, p) {
  // One member: its second read is at the revision of the first, and another may not have it yet.
  const c = connect({ hosts: HOSTS[0] });
  // At one revision: a key younger than another that was read is a conflict for etcd3, now and for ever.
  await c.if(p + 'a', 'Create', '==', 0).then(c.put(p + 'a').value(100), c.put(p + 'b').value(100)).commit();
  const transfer = () => c.stm({ retries: 100 }).transact(tx =>
    Promise.all([tx.get(p + 'a').number(), tx.get(p + 'b').number()]).then(([a, b]) =>
      Promise.all([tx.put(p + 'a').value(a - 1), tx.put(p + 'b').value(b + 1)])));
  await Promise.all([1, 2, 3, 4].map(async () => {
    for (let i = 0; i < 5; ++i) await transfer();
  }));
  assert.deepEqual([await c.get(p + 'a').number(), await c.get(p + 'b').number()], [80, 120]);
}

async function namespaces(c, p) {
  const inner = c.namespace(p);
  const { header } = await inner.put('a').value('1').exec();
  assert.deepEqual(await inner.getAll().keys(), ['a']);
  assert.equal(await c.get(p + 'a').string(), '1');
  const seen = await follow(inner, '', header.revision, events => events.length === 1);
  assert.equal(seen[0].key, 'a');
}

const CASES = {
  'watch resume': watchResume, // first: no other case has left a watch
  kv, txn, watch, lease, lock, election, 'software transactions': stm, namespace: namespaces, tls, auth,
};

async function main() {
  let failed = false;
  for (const [name, run] of Object.entries(CASES)) {
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error('took too long')), CASE_MS).unref());
    try {
      await Promise.race([run(connect(), `node/${name.replace(/ /g, '-')}/`), late]);
      console.log(`ok    ${name}`);
    } catch (e) {
      failed = true;
      console.error(e);
      console.log(`FAIL  ${name}: ${String(e && e.message || e).replace(/\n/g, '; ')}`);
    }
    open.splice(0).forEach(client => client.close());
  }
  process.exit(failed ? 1 : 0);
}

// What a client still wants to say after its case has ended is no failure of the case.
process.on('unhandledRejection', e => console.error('late:', e));
main();
