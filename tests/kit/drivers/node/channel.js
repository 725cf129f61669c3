// A channel: opening, fetching, waiting, closing (channel.md, fetch.md).
"use strict";

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const { Socket } = require("node:net");
const { getSystemErrorMap } = require("node:util");
const {
  TRIES, at, freshCharacters, freshName, isSame, list, octets, openBase, openDirectory, openTmp, stat, within,
} = require("./base");
const { Failure, again, ioError, nameOf, unless } = require("./failure");
const { checkPattern, decode } = require("./message");
const { reap } = require("./reaper");
const { removeDirectory } = require("./removal");

const { O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants;
const AGAIN = ["ENOENT", "ENOTDIR", "EEXIST", "ENOTEMPTY"];
const GONE = ["ENOENT", "ENOTDIR"];
const OPENINGS = 20; // each starts mkfifo
const SPARE = 12; // descriptors: spawnSync leaves some open if it runs out of them
const LARGEST_FILE = 2 ** 30; // of a message, in octets
const MOST_IDS = 131072; // that a queue holds
const LOOK = 1000; // milliseconds

/**
 * Makes a FIFO in an open directory. Node has no call for it. Returns the name of the error.
 * The program starts in this directory: that is allowed to a set-user-id program, too.
 */
function makeQueue(directory, mode) {
  const spare = [];
  try {
    for (let n = 0; n < SPARE; n++) spare.push(fs.openSync("/dev/null", O_RDONLY));
  } finally {
    spare.forEach((descriptor) => fs.closeSync(descriptor));
  }
  const options = {
    cwd: `/proc/self/fd/${directory}`,
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
  };
  const done = spawnSync("mkfifo", ["-m", mode.toString(8), "queue"], options);
  if (done.error) throw done.error;
  return done.status === 0 ? undefined : errnoIn(done.stderr);
}

/** The name of the error at the end of what a program printed. */
function errnoIn(text) {
  const reason = text.trim().toLowerCase();
  const found = [...getSystemErrorMap().values()].find(([, words]) => reason.endsWith(words));
  return found?.[0] ?? "ENOSYS";
}

class Channel {
  /** A channel whose directory is visible. */
  static open(pattern) {
    checkPattern(pattern);
    for (let tries = 0; tries < OPENINGS; tries++) {
      const place = openBase({ making: true });
      try {
        reap(place);
        const channel = Channel.#make(place, `${pattern}_${freshCharacters()}_${process.pid}`);
        if (channel) return channel;
      } catch (error) {
        throw ioError(error);
      } finally {
        fs.closeSync(place.base);
      }
    }
    throw new Failure("io-error", "the channel cannot be made", { errno: "ENOENT" });
  }

  /** Steps 2 to 6 of opening. Undefined: to be repeated. */
  static #make(place, name) {
    const tmp = openTmp(place);
    if (tmp === undefined) return undefined;
    return within(tmp, () => {
      const fresh = freshName();
      const { base, path } = place;
      if (!unless(AGAIN, () => [fs.mkdirSync(at(tmp, fresh), place.directoryMode)])) return undefined;
      const channel = new Channel(name, path);
      let visible = false;
      let opened = false;
      try {
        if (unless(AGAIN, () => channel.#fill(tmp, fresh, place.queueMode))) {
          if (unless(AGAIN, () => [fs.renameSync(at(tmp, fresh), at(base, name))])) {
            visible = true;
            opened = channel.#isThere(at(base, `${name}/queue`));
          }
        }
      } finally {
        if (visible && !opened) channel.close();
        else if (!opened) channel.#undo(tmp, fresh);
      }
      return opened ? channel : undefined;
    });
  }

  constructor(name, base) {
    this.name = name;
    this.base = base;
    this.inHand = Buffer.alloc(0);
    this.descriptors = [];
    this.socket = undefined;
    this.woken = undefined;
  }

  #keep(descriptor) {
    this.descriptors.push(descriptor);
    return descriptor;
  }

  /** Makes the queue and opens it. False: something is gone. */
  #fill(tmp, fresh, mode) {
    this.directory = this.#keep(openDirectory(at(tmp, fresh), O_NOFOLLOW));
    this.own = fs.fstatSync(this.directory, { bigint: true });
    const queue = at(this.directory, "queue");
    const errno = makeQueue(this.directory, mode);
    if (errno === "ENOENT") return false;
    if (errno) throw new Failure("io-error", "mkfifo failed", { errno });
    this.reader = this.#keep(fs.openSync(queue, O_RDONLY | O_NONBLOCK | O_NOFOLLOW));
    this.#keep(fs.openSync(queue, O_WRONLY | O_NONBLOCK | O_NOFOLLOW));
    this.queue = fs.fstatSync(this.reader, { bigint: true });
    return true;
  }

  /** Removes what an opening made. Needs no further descriptor. */
  #undo(tmp, fresh) {
    try {
      if (this.directory !== undefined)
        unless(GONE, () => fs.unlinkSync(at(this.directory, "queue")));
    } finally {
      this.#release();
    }
    unless(GONE, () => fs.rmdirSync(at(tmp, fresh)));
  }

  #release() {
    if (this.socket) this.socket.destroy(); // closes the reader
    for (const descriptor of this.descriptors)
      if (!this.socket || descriptor !== this.reader) fs.closeSync(descriptor);
    this.descriptors = [];
  }

  #isThere(path) {
    const found = unless(GONE, () => stat(path));
    return found !== undefined && isSame(found, this.queue);
  }

  /** FETCH-14, FETCH-20 */
  #look() {
    let there;
    try {
      there = this.#isThere(octets(`${this.base}/${this.name}/queue`));
    } catch {
      return; // not known
    }
    if (!there) throw new Failure("channel-lost", `${this.name} is gone`);
  }

  /** Reads on until an id is in hand. False: the queue is empty, or holds a part of an id. */
  #read() {
    if (this.inHand.length === 8) return true;
    const buffer = Buffer.alloc(8 - this.inHand.length);
    const length = unless(["EAGAIN"], () => again(() => fs.readSync(this.reader, buffer)));
    this.inHand = Buffer.concat([this.inHand, buffer.subarray(0, length ?? 0)]);
    return this.inHand.length === 8;
  }

  /** The next message, or null. */
  fetch() {
    try {
      for (let ids = 0; ids < MOST_IDS; ids++) {
        if (!this.#read()) {
          const stray = this.inHand.length;
          this.inHand = Buffer.alloc(0);
          if (stray) throw new Failure("damaged-queue", `${stray} octets are no id`);
          this.#look();
          return null;
        }
        const id = this.inHand.readBigUInt64BE();
        const message = id ? this.#take(id) : undefined;
        this.inHand = Buffer.alloc(0);
        if (message) return message;
      }
      return null;
    } catch (error) {
      if (error.code === "invalid-message") this.inHand = Buffer.alloc(0);
      throw ioError(error);
    }
  }

  /** The message of an id, whose file is removed. Undefined: there is none. */
  #take(id) {
    const path = at(this.directory, `${id}`);
    const remove = () => {
      try {
        fs.unlinkSync(path);
      } catch (error) {
        nameOf(error); // whatever it is: the message is yielded
      }
    };
    const invalid = (why) => {
      if (!unless(GONE, () => stat(path))?.isDirectory()) remove();
      return new Failure("invalid-message", why);
    };
    let file;
    try {
      file = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    } catch (error) {
      if (GONE.includes(nameOf(error))) return undefined;
      const found = unless(GONE, () => stat(path));
      if (!found) return undefined;
      if (!found.isFile()) throw invalid("not a file");
      if (nameOf(error) === "EACCES" && !this.#mayRead(path)) throw invalid("not readable");
      throw error;
    }
    const octets = within(file, () => {
      const found = fs.fstatSync(file);
      return found.isFile() && found.size <= LARGEST_FILE ? readAll(file, found.size) : undefined;
    });
    if (!octets) throw invalid("not a file, or too large");
    let message;
    try {
      message = decode(octets);
    } catch (error) {
      if (error.code !== "invalid-message") throw error;
      throw invalid(error.message);
    }
    if (message.id !== id) throw invalid("another id");
    remove();
    return message;
  }

  #mayRead(path) {
    return unless(["EACCES"], () => [fs.accessSync(path, fs.constants.R_OK)]) !== undefined;
  }

  /** Waits until something is in hand. Node waits for a FIFO by reading from it. */
  async wait(seconds, signal) {
    const deadline = performance.now() + seconds * 1000;
    try {
      for (;;) {
        if (this.#read() || this.inHand.length) return true;
        const left = deadline - performance.now();
        if (left <= 0) {
          this.#look();
          return false;
        }
        await this.#sleep(Math.min(left, LOOK), signal);
        if (this.inHand.length) return true;
        this.#look();
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw ioError(error);
    }
  }

  #sleep(milliseconds, signal) {
    return new Promise((resolve, reject) => {
      const ended = () => {
        clearTimeout(timer);
        this.socket.pause();
        signal.removeEventListener("abort", aborted);
        this.woken = undefined;
        resolve();
      };
      const aborted = () => reject(signal.reason);
      const timer = setTimeout(ended, milliseconds);
      signal.addEventListener("abort", aborted);
      this.woken = ended;
      if (this.socket) this.socket.resume();
      else this.socket = this.#listen();
    });
  }

  #listen() {
    const callback = (length, buffer) => {
      this.inHand = Buffer.concat([this.inHand, buffer.subarray(0, length)]);
      this.woken?.();
      return false; // read no more
    };
    const onread = { buffer: Buffer.alloc(8), callback };
    return new Socket({ fd: this.reader, readable: true, writable: false, onread });
  }

  /** FETCH-17 */
  removeOrphans(isStale) {
    const names = list(this.directory).filter((name) => {
      if (!/^[1-9][0-9]{0,19}$/.test(name)) return false;
      const found = unless(GONE, () => stat(at(this.directory, name)));
      return found?.isFile() && isStale(found.ctimeNs);
    });
    if (!names.length || this.#read() || this.inHand.length) return;
    for (const name of names) unless(GONE, () => fs.unlinkSync(at(this.directory, name)));
  }

  close() {
    let base;
    try {
      base = unless(GONE, () => openDirectory(octets(this.base)));
      const claimed = base === undefined ? undefined : this.#claim(base);
      this.#release();
      if (claimed) within(claimed.tmp, (tmp) => removeDirectory(tmp, claimed.name));
    } catch (error) {
      throw ioError(error);
    } finally {
      this.#release();
      if (base !== undefined) fs.closeSync(base);
    }
  }

  /** Renames the channel's directory into `tmp`. Undefined: it is gone, or not the channel's. */
  #claim(base) {
    for (let tries = 0; tries < TRIES; tries++) {
      const found = unless(GONE, () => stat(at(base, this.name)));
      if (!found || !isSame(found, this.own)) return undefined;
      const place = { base, path: this.base, directoryMode: Number(this.own.mode & 0o777n) };
      const tmp = openTmp(place);
      if (tmp === undefined) return undefined;
      const name = freshName();
      let claimed = false;
      try {
        if (unless(["ENOENT"], () => [fs.renameSync(at(base, this.name), at(tmp, name))])) {
          claimed = isSame(stat(at(tmp, name)), this.own);
          if (claimed) return { tmp, name };
          fs.renameSync(at(tmp, name), at(base, this.name)); // CHAN-22
          return undefined;
        }
      } finally {
        if (!claimed) fs.closeSync(tmp);
      }
    }
    throw new Failure("io-error", "the channel cannot be claimed", { errno: "ENOENT" });
  }
}

function readAll(file, size) {
  const octets = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const read = again(() => fs.readSync(file, octets, length, size - length, null));
    if (!read) break;
    length += read;
  }
  return octets.subarray(0, length);
}

module.exports = { Channel };
