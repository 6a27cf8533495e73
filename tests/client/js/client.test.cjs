// The official JavaScript client against a live grid: tests/client/js_go.py deploys the apps that it calls.

const assert = require("node:assert/strict");
const { test, after } = require("node:test");
const modal = require("modal");

const client = new modal.ModalClient();
after(() => client.close());

const calls = (name) => client.functions.fromName("calls", name);

// Asks until it is so, for `seconds` at most: the grid is another process, whose events a test can only watch.
async function until(what, seconds, why) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await what())) {
    assert.ok(Date.now() < deadline, `after ${seconds} s still not: ${why}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("remote calls a function, with positional and named arguments", async () => {
  assert.equal(await (await calls("square")).remote([9]), 81);
  assert.equal(await (await calls("add")).remote([], { x: 1, y: 2 }), 3);
});

test("values travel as CBOR, both ways", async () => {
  const echo = await calls("echo");
  const value = { text: "käse", list: [1, 2.5, null, true], nested: { "-": -7 }, big: 2 ** 40 };
  assert.deepEqual(await echo.remote([value]), value);
  assert.deepEqual(Buffer.from(await echo.remote([new Uint8Array([0, 1, 255])])), Buffer.from([0, 1, 255]));
});

test("what is larger than two MiB travels as a blob", async () => {
  const data = Buffer.alloc((3 << 20) + 1, "x");
  assert.ok(Buffer.from(await (await calls("echo")).remote([data])).equals(data));
});

test("an exception comes back with its text", async () => {
  await assert.rejects((await calls("odd_only")).remote([4]), (error) => {
    assert.ok(error instanceof modal.RemoteError, String(error));
    assert.match(error.message, /even: 4/);
    return true;
  });
});

test("a name that is not there is a NotFoundError", async () => {
  await assert.rejects(calls("nothing"), modal.NotFoundError);
  await assert.rejects(client.cls.fromName("classes", "Nothing"), modal.NotFoundError);
  await assert.rejects(client.apps.fromName("no-such-app"), modal.NotFoundError);
});

test("spawn, get, get again, and by id alone", async () => {
  const call = await (await calls("square")).spawn([12]);
  assert.equal(await call.get(), 144);
  assert.equal(await call.get(), 144);
  assert.equal(await (await client.functionCalls.fromId(call.functionCallId)).get({ timeoutMs: 5000 }), 144);
});

test("get gives up after its time-out, and the call goes on", async () => {
  const call = await (await calls("waits")).spawn([1, "done"]);
  await assert.rejects(call.get({ timeoutMs: 0 }), modal.FunctionTimeoutError);
  assert.equal(await call.get({ timeoutMs: 30000 }), "done");
});

test("cancel ends what runs", async () => {
  const sleeps = await calls("sleeps_for_ever");
  const call = await sleeps.spawn(["from JavaScript"]);
  await call.cancel();
  await assert.rejects(call.get({ timeoutMs: 20000 }), modal.RemoteError);
  await until(async () => (await sleeps.getCurrentStats()).backlog === 0, 10, "nothing of it waits");
});

test("a function's statistics and its autoscaler", async () => {
  const add = await calls("add");
  await add.remote([1, 1]);
  const { backlog, numTotalRunners } = await add.getCurrentStats();
  assert.equal(backlog, 0);
  assert.ok(numTotalRunners >= 1);
  const settings = await add.updateAutoscaler({ minContainers: 0, maxContainers: 3, scaledownWindowMs: 20000 });
  assert.equal(settings.maxContainers, 3);
  assert.equal(settings.scaledownWindowMs, 20000);
});

test("a function by its id", async () => {
  const square = await calls("square");
  assert.equal(await (await client.functions.fromId(square.functionId)).remote([3]), 9);
});

test("a web function has its address and cannot be called", async () => {
  const web = await client.functions.fromName("rolls", "answer");
  assert.match(await web.getWebUrl(), /^http/);
  await assert.rejects(web.remote(["x"]), /web/i);
});

test("classes, with and without parameters", async () => {
  const counter = await client.cls.fromName("classes", "Counter");
  const seven = await counter.instance({ start: 7, name: "js" });
  assert.equal(await seven.method("add").remote([3]), 10);
  const story = await seven.method("story").remote();
  assert.deepEqual([story.name, story.start, story.steps], ["js", 7, ["snap", "enter"]]);
  const call = await (await counter.instance()).method("add").spawn([1]);
  assert.equal(await call.get({ timeoutMs: 60000 }), 1);
  const doubled = await client.cls.fromName("classes", "Sums");
  assert.deepEqual(await (await doubled.instance()).method("total").remote([[1, 2]]), [[1, 2], [2, 2]]);
});

test("options of a class and of a function bind containers of their own", async () => {
  const slow = await client.cls.fromName("classes", "Slow");
  const bound = slow.withOptions({ env: { SAYS: "js" }, maxContainers: 1 });
  assert.equal(await (await bound.instance()).method("environment").remote(["SAYS"]), "js");
  const function_ = (await calls("square")).withOptions({ timeoutMs: 60000 });
  assert.equal(await (await function_.instance()).remote([5]), 25);
});

test("secrets: found, made, refused when a key is missing, deleted", async () => {
  const secret = await client.secrets.fromName("of-clients", { requiredKeys: ["KEY"] });
  assert.match(secret.secretId, /^st-/);
  await assert.rejects(client.secrets.fromName("of-clients", { requiredKeys: ["OTHER"] }), /OTHER/);
  await assert.rejects(client.secrets.fromName("no-such-secret"), modal.NotFoundError);
  const slow = await client.cls.fromName("classes", "Slow");
  const made = await client.secrets.fromObject({ MADE: "by js" });
  const bound = await slow.withOptions({ secrets: [secret, made] }).instance();
  assert.equal(await bound.method("environment").remote(["MADE"]), "by js");
  assert.equal(await bound.method("environment").remote(["KEY"]), "value");
  await client.secrets.delete("no-such-secret", { allowMissing: true });
});

test("queues: values, partitions, order, time-outs", async () => {
  const queue = await client.queues.ephemeral();
  await queue.put("one");
  await queue.putMany(["two", 3]);
  assert.equal(await queue.len(), 3);
  assert.equal(await queue.get(), "one");
  assert.deepEqual(await queue.getMany(5, { timeoutMs: 1000 }), ["two", 3]);
  await assert.rejects(queue.get({ timeoutMs: 0 }), modal.QueueEmptyError);
  await queue.put({ a: [1] }, { partition: "p", partitionTtlMs: 60000 });
  assert.equal(await queue.len(), 0);
  assert.equal(await queue.len({ total: true }), 1);
  const seen = [];
  for await (const item of queue.iterate({ partition: "p" })) seen.push(item);
  assert.deepEqual(seen, [{ a: [1] }]);
  await queue.clear({ all: true });
  assert.equal(await queue.len({ total: true }), 0);
  queue.closeEphemeral();
  const named = await client.queues.fromName("js-queue", { createIfMissing: true });
  await named.put("kept");
  assert.equal(await (await client.queues.fromName("js-queue")).get(), "kept");
  await client.queues.delete("js-queue");
  await assert.rejects(client.queues.fromName("js-queue"), modal.NotFoundError);
});

test("environments come and go, and list their apps", async () => {
  await client.environments.objects.create("js-staging");
  const names = [];
  for await (const environment of client.environments.objects.list()) names.push(environment.name);
  assert.ok(names.includes("js-staging") && names.includes("main"), String(names));
  const main = await client.environments.fromName("main");
  const apps = [];
  for await (const app of main.apps.list()) apps.push(app.name);
  assert.ok(apps.includes("calls"), String(apps));
  await client.environments.objects.delete("js-staging");
  await assert.rejects(client.environments.fromName("js-staging"), modal.NotFoundError);
});

test("an app by its name", async () => {
  const app = await client.apps.fromName("calls");
  const info = await app.info();
  assert.equal(info.lifecycle.state, "deployed");
  assert.ok(Object.keys(info.functions).includes("square"));
});

test("an image by its id", async () => {
  const slow = await (await client.cls.fromName("classes", "Slow")).instance();
  const id = await slow.method("environment").remote(["MODAL_IMAGE_ID"]);
  assert.equal((await client.images.fromId(id)).imageId, id);
  await assert.rejects(client.images.fromId("im-0000000000000000000000"), modal.NotFoundError);
});

test("logs of a call and of a function", async () => {
  const says = await calls("says");
  const call = await says.spawn([4711]);
  await call.get();
  const texts = async (logs) => {
    const lines = [];
    for await (const entry of logs.tail({ entries: 100 })) lines.push(entry.message);
    return lines.join("");
  };
  await until(async () => (await texts(call.logs)).includes("said 4711"), 20, "the call's log has its line");
  assert.match(await texts(says.logs), /said 4711/);
});

test("a wrong secret is refused", async () => {
  const stranger = new modal.ModalClient({ tokenId: process.env.MODAL_TOKEN_ID, tokenSecret: "as-wrong" });
  await assert.rejects(stranger.functions.fromName("calls", "square"), /[Tt]oken/);
  stranger.close();
});
