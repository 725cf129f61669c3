// Publishing, step by step (publish.md).
"use strict";

const { randomInt } = require("node:crypto");
const fs = require("node:fs");
const { setTimeout: sleep } = require("node:timers/promises");
const { TRIES, at, list, openBase, openTmp, stat } = require("./base");
const { Failure, ioError, nameOf, unless } = require("./failure");
const { encode, isPattern, matches } = require("./message");

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = fs.constants;
const GONE = ["ENOENT", "ENOTDIR"];
const LONGEST_NAP = 10; // milliseconds
const NAME = /^(.+)_[A-Za-z0-9]{12}_[1-9][0-9]{0,9}$/;

let last = 2n ** 46n;

function freshId(now) {
  last = last + 1n > now ? last + 1n : now;
  return (last << 10n) | BigInt(randomInt(1024));
}

/** The pattern in the name of a channel, or undefined if it is no such name. */
function patternOf(name) {
  const pattern = NAME.exec(name)?.[1];
  return pattern !== undefined && isPattern(pattern) ? pattern : undefined;
}

/** A message in `tmp`, on its way to channels. */
class Staged {
  constructor(place, message) {
    Object.assign(this, { place, message, tmp: undefined, ids: [] });
  }

  get id() {
    return this.ids.at(-1);
  }

  /** Stages the message under a fresh id. False if `tmp` or the base is gone. */
  stage() {
    for (let tries = 0; tries < TRIES; tries++) {
      if (this.tmp === undefined) this.tmp = openTmp(this.place);
      if (this.tmp === undefined) return false;
      const id = freshId(this.message.timestamp);
      const text = encode({ ...this.message, id });
      try {
        this.#write(id, text);
        this.ids.push(id);
        return true;
      } catch (error) {
        const name = nameOf(error);
        if (name === "ENOENT") this.#closeTmp();
        else if (name !== "EEXIST") throw error;
      }
    }
    throw new Failure("io-error", "the message cannot be staged", { errno: "EEXIST" });
  }

  #write(id, text) {
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    const file = fs.openSync(at(this.tmp, `${id}`), flags, this.place.messageMode);
    try {
      for (let done = 0; done < text.length; ) done += fs.writeSync(file, text, done);
    } catch (error) {
      this.#remove(id);
      throw error;
    } finally {
      fs.closeSync(file);
    }
  }

  #remove(id) {
    unless(["ENOENT"], () => fs.unlinkSync(at(this.tmp, `${id}`)));
  }

  #closeTmp() {
    fs.closeSync(this.tmp);
    this.tmp = undefined;
  }

  exists() {
    return unless(GONE, () => stat(at(this.tmp, `${this.id}`))) !== undefined;
  }

  /** Removes all that was staged. Throws the first error, after the rest was tried. */
  remove() {
    if (this.tmp === undefined) return;
    const errors = [];
    for (const id of this.ids) {
      try {
        this.#remove(id);
      } catch (error) {
        errors.push(error);
      }
    }
    this.#closeTmp();
    if (errors.length) throw errors[0];
  }
}

/** The queue of a channel, open for writing. Undefined if nobody reads there. */
function openQueue(base, channel) {
  const path = at(base, `${channel}/queue`);
  if (!unless(GONE, () => stat(at(base, channel)))?.isDirectory()) return undefined;
  if (!unless(GONE, () => stat(path))?.isFIFO()) return undefined;
  let queue;
  try {
    queue = fs.openSync(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
  } catch (error) {
    if (["ENXIO", ...GONE].includes(nameOf(error))) return undefined;
    if (!unless(GONE, () => stat(path))?.isFIFO()) return undefined;
    throw error;
  }
  try {
    if (fs.fstatSync(queue).isFIFO()) return queue;
  } catch (error) {
    fs.closeSync(queue);
    throw error;
  }
  fs.closeSync(queue);
  return undefined;
}

/** Links the message into a channel. False if the channel is gone. */
function link(staged, channel) {
  const { base } = staged.place;
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      fs.linkSync(at(staged.tmp, `${staged.id}`), at(base, `${channel}/${staged.id}`));
      return true;
    } catch (error) {
      const name = nameOf(error);
      if (GONE.includes(name)) {
        if (staged.exists()) return false; // PUB-12
      } else if (name !== "EEXIST" && name !== "EMLINK") throw error;
      try {
        if (!staged.stage()) return false;
      } catch (failed) {
        throw failed.code === "base-unusable" ? ioError(failed.cause) : failed; // PUB-13
      }
    }
  }
  throw new Failure("io-error", "the message cannot be linked", { errno: "ENOENT" });
}

/** Gives the message to a channel: "taken", "full" or "gone". */
function give(staged, channel) {
  const { base } = staged.place;
  const queue = openQueue(base, channel);
  if (queue === undefined) return "gone";
  try {
    if (!link(staged, channel)) return "gone";
    const id = Buffer.alloc(8);
    id.writeBigUInt64BE(staged.id);
    try {
      fs.writeSync(queue, id);
      return "taken";
    } catch (error) {
      unless(["ENOENT"], () => fs.unlinkSync(at(base, `${channel}/${staged.id}`)));
      const name = nameOf(error);
      if (name === "EAGAIN") return "full";
      if (name === "EPIPE") return "gone";
      throw error;
    }
  } finally {
    fs.closeSync(queue);
  }
}

/** Publishes a message. Returns the number of queues that took it. */
async function publish({ topic, headers, content }, { seconds = 0, signal } = {}) {
  const timestamp = BigInt(Date.now()) * 1000n;
  const message = { topic, headers, content, timestamp };
  encode({ ...message, id: 1n }); // refuses before anything is made (PUB-4)
  const deadline = performance.now() + seconds * 1000;
  for (let tries = 0; tries < TRIES; tries++) {
    const place = openBase({ making: true });
    try {
      const names = unless(["ENOENT"], () => list(place.base));
      if (!names) continue; // the base is gone
      const channels = names.filter((name) => {
        const pattern = patternOf(name);
        return pattern !== undefined && matches(pattern, topic);
      });
      if (!channels.length) return 0;
      const staged = new Staged(place, message);
      try {
        if (staged.stage()) return await reach(staged, channels, deadline, signal);
      } finally {
        staged.remove();
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw ioError(error, { count: 0 });
    } finally {
      fs.closeSync(place.base);
    }
  }
  throw new Failure("io-error", "the base comes and goes", { errno: "ENOENT", count: 0 });
}

async function reach(staged, channels, deadline, signal) {
  let count = 0;
  let failed;

  function keep(error) {
    failed ??= ioError(error);
  }

  for (let nap = 1; ; nap = Math.min(2 * nap, LONGEST_NAP)) {
    const last = performance.now() >= deadline;
    channels = channels.filter((channel) => {
      try {
        const outcome = give(staged, channel);
        count += outcome === "taken";
        return outcome === "full";
      } catch (error) {
        return keep(error);
      }
    });
    if (last || !channels.length) break;
    const left = deadline - performance.now();
    await sleep(Math.max(1, Math.min(nap, left)), undefined, { signal });
  }
  try {
    staged.remove();
  } catch (error) {
    keep(error);
  }
  if (failed) throw new Failure(failed.code, failed.message, { ...failed.fields, count });
  return count;
}

module.exports = { patternOf, publish };
