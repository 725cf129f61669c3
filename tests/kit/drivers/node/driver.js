// The driver (conformance/DRIVER.md) of an implementation in plain Node.js, without packages.
"use strict";

const fs = require("node:fs");
const { setImmediate: turn, setTimeout: sleep } = require("node:timers/promises");
const zlib = require("node:zlib");
const { openBase } = require("./base");
const { Channel } = require("./channel");
const { Failure, ioError } = require("./failure");
const { parse, render } = require("./json");
const { checkPattern, checkTopic, decode, encode, matches } = require("./message");
const { publish } = require("./publisher");
const { reap, staleAfter } = require("./reaper");

const LARGEST = 2n ** 64n;

class BadRequest extends Error {}

// --- fields ---

const KINDS = {
  string: (value) => typeof value === "string",
  integer: Number.isInteger,
  number: (value) => typeof value === "number",
  object: (value) => value instanceof Map,
  sizes: (value) => Array.isArray(value) && value.every(Number.isInteger),
  report: (value) => ["all", "totals"].includes(value),
};

function need(fields, kinds) {
  for (const [name, kind] of Object.entries(kinds)) {
    const optional = kind.endsWith("?");
    if (optional && !fields.has(name)) continue;
    if (!KINDS[optional ? kind.slice(0, -1) : kind](fields.get(name)))
      throw new BadRequest(`${name} is not of the kind ${kind}`);
  }
  return Object.fromEntries(Object.keys(kinds).map((name) => [name, fields.get(name)]));
}

function base64(text) {
  const octets = Buffer.from(text, "base64");
  const tail = /[^=]?=*$/; // its unused bits are free
  const same = octets.toString("base64").replace(tail, "") === text.replace(tail, "");
  if (!same || text.length % 4) throw new BadRequest("not base64");
  return octets;
}

function decimal(text) {
  if (!/^[0-9]{1,20}$/.test(text) || BigInt(text) >= LARGEST) throw new BadRequest("not 64 bits");
  return BigInt(text);
}

function messageOf(fields) {
  const kinds = { id: "string", timestamp: "string", topic: "string", headers: "object", content: "string" };
  const { id, timestamp, content, ...others } = need(fields, kinds);
  const message = { id: decimal(id), timestamp: decimal(timestamp), content: base64(content), ...others };
  if (message.id === 0n) throw new BadRequest("the id is 0");
  return message;
}

function objectOf(fields) {
  return new Map(Object.entries(fields));
}

function describe(message) {
  const { id, timestamp, topic, headers, content } = message;
  const fields = { id: `${id}`, timestamp: `${timestamp}`, topic, headers };
  return objectOf({ ...fields, content: content.toString("base64") });
}

function describeError(error) {
  if (!(error instanceof Failure)) throw error;
  return objectOf({ code: error.code, detail: error.message, ...error.fields });
}

function now() {
  return `${process.hrtime.bigint()}`; // CLOCK_MONOTONIC
}

// --- operations ---

const channels = new Map();
const ended = new AbortController();
const { signal } = ended;
let opened = 0;

function channelOf(handle) {
  const channel = channels.get(handle);
  if (!channel) throw new Failure("channel-closed", `no channel ${handle}`);
  return channel;
}

const operations = {
  hello(fields) {
    if (need(fields, { protocol: "integer" }).protocol !== 1) throw new BadRequest("protocol 1 only");
    return {
      implementation: "pubsub-node",
      version: "1",
      language: `Node.js ${process.version}`,
      spec: "1",
      roles: ["topics", "codec", "publisher", "subscriber", "reaper"],
    };
  },

  match(fields) {
    const { pattern, topic } = need(fields, { pattern: "string", topic: "string" });
    checkPattern(pattern);
    checkTopic(topic);
    return { match: matches(pattern, topic) };
  },

  encode(fields) {
    const message = messageOf(need(fields, { message: "object" }).message);
    return { bytes: encode(message).toString("base64") };
  },

  decode(fields) {
    return { message: describe(decode(base64(need(fields, { bytes: "string" }).bytes))) };
  },

  async publish(fields) {
    const kinds = { topic: "string", content: "string", headers: "object", timeout: "number?" };
    const { timeout: seconds, content, ...others } = need(fields, kinds);
    return { count: await publish({ content: base64(content), ...others }, { seconds, signal }) };
  },

  async produce(fields, send) {
    const { topic, prefix, count, sizes, rate, timeout: seconds, report } = need(fields, {
      topic: "string", prefix: "string", count: "integer", sizes: "sizes", report: "report",
      rate: "number?", timeout: "number?",
    });
    const done = { messages: 0, count: 0, start: now(), end: now() };
    const began = performance.now();
    for (let n = 0; n < count; n++) {
      const text = `${prefix}:${n}:`;
      const size = Math.max(sizes[n % sizes.length], text.length);
      const content = Buffer.from(text.repeat(Math.ceil(size / text.length)).slice(0, size));
      const headers = objectOf({ publisher: prefix, n });
      const early = rate ? began + (n / rate) * 1000 - performance.now() : 0;
      if (early > 0) await sleep(early, undefined, { signal });
      else await turn(undefined, { signal }); // a signal handler runs only between turns
      const event = { n, start: now() };
      if (!n) done.start = event.start;
      try {
        event.count = await publish({ topic, headers, content }, { seconds, signal });
        done.count += event.count;
        done.messages++;
      } catch (error) {
        event.error = describeError(error);
        if (/^invalid|^too-large/.test(error.code)) throw error;
      }
      event.end = done.end = now();
      if (report === "all") send({ event: objectOf(event) });
    }
    return { done: objectOf(done) };
  },

  open(fields) {
    const channel = Channel.open(need(fields, { pattern: "string" }).pattern);
    const handle = `c${++opened}`;
    channels.set(handle, channel);
    return { channel: handle, directory: channel.name };
  },

  fetch(fields) {
    const message = channelOf(need(fields, { channel: "string" }).channel).fetch();
    return { message: message && describe(message) };
  },

  async wait(fields) {
    const { channel, timeout } = need(fields, { channel: "string", timeout: "number" });
    return { ready: await channelOf(channel).wait(timeout, signal) };
  },

  async consume(fields, send) {
    const { channel: handle, count = Infinity, idle = Infinity, deadline = Infinity, report } = need(
      fields,
      { channel: "string", report: "report", count: "integer?", idle: "number?", deadline: "number?" },
    );
    const channel = channelOf(handle);
    const done = { messages: 0, start: now() };
    const end = performance.now() + deadline * 1000;
    let quiet = performance.now() + idle * 1000;
    while (done.messages < count) {
      await turn(undefined, { signal });
      const event = { start: now() };
      try {
        const message = channel.fetch();
        if (!message) {
          const left = Math.min(end, quiet) - performance.now();
          if (left <= 0) break;
          await channel.wait(left / 1000, signal);
          continue;
        }
        const { topic, headers, content } = message;
        Object.assign(event, { end: now(), topic, headers, size: content.length, crc: crc32(content) });
        done.messages++;
        quiet = performance.now() + idle * 1000;
      } catch (error) {
        if (!["invalid-message", "damaged-queue"].includes(error.code)) throw error;
        Object.assign(event, { end: now(), error: describeError(error) });
      }
      if (report === "all") send({ event: objectOf(event) });
      if (performance.now() >= end) break;
    }
    return { done: objectOf({ ...done, end: now() }) };
  },

  close(fields) {
    const { channel: handle } = need(fields, { channel: "string" });
    const channel = channelOf(handle);
    channels.delete(handle);
    channel.close();
    return {};
  },

  reap(fields) {
    const { stale_age: seconds } = need(fields, { stale_age: "number?" });
    try {
      const place = openBase({ making: false });
      if (!place) return {};
      try {
        reap(place, staleAfter(seconds));
        for (const channel of channels.values()) channel.removeOrphans(staleAfter(seconds));
      } finally {
        fs.closeSync(place.base);
      }
    } catch (error) {
      throw ioError(error);
    }
    return {};
  },
};

/** zlib of this Node.js may have no crc32: the trailer of a gzip stream has it. */
function crc32(octets) {
  const stream = zlib.gzipSync(octets, { level: 0 });
  return stream.readUInt32LE(stream.length - 8);
}

// --- the session ---

async function answer(line) {
  let seq = null;
  const send = (fields) => process.stdout.write(`${render(objectOf({ seq, ...fields }))}\n`);
  try {
    const request = parse(new TextDecoder("utf-8", { fatal: true }).decode(line));
    if (!(request instanceof Map)) throw new BadRequest("a request is a JSON object");
    if (Number.isSafeInteger(request.get("seq"))) seq = request.get("seq");
    const { op } = need(request, { seq: "integer", op: "string" });
    if (!Object.hasOwn(operations, op)) throw new Failure("unknown-op", op);
    send(await operations[op](request, send));
  } catch (error) {
    const bad = [BadRequest, SyntaxError].some((kind) => error instanceof kind);
    if (bad || error.code === "ERR_ENCODING_INVALID_ENCODED_DATA")
      send({ error: objectOf({ code: "bad-request", detail: error.message }) });
    else if (!signal.aborted) send({ error: describeError(error) });
  }
}

async function* lines(stream) {
  let begun = [];
  for await (const chunk of stream) {
    let start = 0;
    for (let end; (end = chunk.indexOf(10, start)) >= 0; start = end + 1) {
      yield Buffer.concat([...begun, chunk.subarray(start, end)]);
      begun = [];
    }
    begun.push(chunk.subarray(start));
  }
}

async function main() {
  process.on("SIGTERM", () => {
    ended.abort();
    process.stdin.destroy();
  });
  try {
    for await (const line of lines(process.stdin)) {
      await answer(line);
      if (signal.aborted) break;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  for (const channel of channels.values()) channel.close();
  process.exit(0);
}

main();
