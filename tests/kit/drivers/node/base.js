// The base directory (base.md). Node has no `openat`: `/proc/self/fd/N/NAME` is the entry NAME of the
// directory that descriptor N refers to. Names are octets, one a character ("latin1").
"use strict";

const { randomInt } = require("node:crypto");
const fs = require("node:fs");
const { Failure, again, ioError, nameOf, unless } = require("./failure");

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fs.constants;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const SHORTAGES = ["EMFILE", "ENFILE", "ENOMEM", "EIO"];
const LONGEST_ENTRY = 246; // octets of `/CHANNEL/ID`
const PATH_MAX = 4096;
const TRIES = 100;

const ENVIRONMENT = environment();
const UMASK = process.umask(0); // modes are what the calls below say (BASE-9)

function octets(path) {
  return Buffer.from(path, "latin1");
}

/** The path of an entry of an open directory, or of the directory itself. */
function at(directory, name = "") {
  return octets(`/proc/self/fd/${directory}${name && "/"}${name}`);
}

function stat(path) {
  return fs.lstatSync(path, { bigint: true });
}

function list(directory) {
  return fs.readdirSync(at(directory), { encoding: "latin1" });
}

function openDirectory(path, flags = 0) {
  return fs.openSync(path, O_RDONLY | O_DIRECTORY | flags);
}

/** Calls `work` with an open directory, and closes it. */
function within(directory, work) {
  try {
    return work(directory);
  } finally {
    fs.closeSync(directory);
  }
}

function isSame(one, other) {
  return one.dev === other.dev && one.ino === other.ino;
}

/** Begins with a letter that is no digit, so that in `tmp` it is no message's name. */
function freshName() {
  return `x${freshCharacters()}`;
}

function freshCharacters() {
  return Array.from({ length: 12 }, () => LETTERS[randomInt(LETTERS.length)]).join("");
}

/** The environment, undecoded. Where its effective user is not the real one, no process may read it. */
function environment() {
  const found = unless(["EACCES"], () => again(() => fs.readFileSync("/proc/self/environ", "latin1")));
  if (found !== undefined) return found.split("\0");
  const decoded = Object.entries(process.env).map((entry) => entry.join("="));
  return decoded.map((entry) => Buffer.from(entry).toString("latin1"));
}

/** A variable of the environment (BASE-1). */
function variable(name) {
  return ENVIRONMENT.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
}

/** The path of the base, absolute, and whether the user named it. */
function place() {
  const home = variable("PUBSUB_HOME");
  if (home) return { path: absolute(home), explicit: true };
  const shared = unless(["ENOENT", "ENOTDIR"], () => fs.statSync("/dev/shm"))?.isDirectory();
  const parent = shared ? "/dev/shm" : variable("TMPDIR") || "/tmp";
  return { path: absolute(`${parent}/pubsub`), explicit: false };
}

/** The same; the error is the implementation's. */
function findPlace() {
  try {
    return place();
  } catch (error) {
    throw ioError(error);
  }
}

function absolute(path) {
  if (path.startsWith("/")) return path;
  return `${fs.readlinkSync("/proc/self/cwd", "latin1")}/${path}`;
}

function make(path) {
  const names = path.split("/").filter((name) => name && name !== ".");
  let made = "";
  names.forEach((name, index) => {
    made += `/${name}`;
    const last = index === names.length - 1 || names.includes("..");
    unless(["EEXIST"], () => fs.mkdirSync(octets(made), last ? 0o700 : 0o777 & ~UMASK));
  });
}

function unusable(path, fault, cause = undefined) {
  const detail = `${path}: ${fault}; PUBSUB_HOME can name another directory`;
  return new Failure("base-unusable", detail, {}, cause);
}

/** The error of a call on the base or on `tmp` (BASE-3). */
function baseError(path, error) {
  if (error instanceof Failure) return error;
  return SHORTAGES.includes(nameOf(error)) ? ioError(error) : unusable(path, error.message, error);
}

/** Opens the base, checked. Undefined if it does not exist and shall not be made. */
function openBase({ making }) {
  let base;
  const { path, explicit } = findPlace();
  try {
    if (path.length + LONGEST_ENTRY >= PATH_MAX) throw unusable(path, "its path is too long");
    if (!unless(["ENOENT"], () => stat(octets(path)))) {
      if (!making) return undefined;
      make(path);
    }
    base = openDirectory(octets(path), explicit ? 0 : O_NOFOLLOW);
    const { uid, mode } = fs.fstatSync(base);
    if (!explicit && ![0, process.geteuid()].includes(uid))
      throw unusable(path, "it belongs to another user");
    if (mode & (explicit ? 0o002 : 0o022) && !(mode & 0o1000))
      throw unusable(path, "others may write to it, and it has no sticky bit");
    return { base, path, ...modes(mode) };
  } catch (error) {
    if (base !== undefined) fs.closeSync(base);
    throw baseError(path, error);
  }
}

/** The modes of what is made inside (BASE-8, BASE-9). */
function modes(mode) {
  if (!(mode & 0o022)) return { directoryMode: 0o700, messageMode: 0o600, queueMode: 0o600 };
  const readers = [0o060, 0o006].filter((both) => (mode & both) === both);
  const messageMode = readers.reduce((bits, both) => bits | (both & 0o044), 0o600);
  return { directoryMode: 0o700 | (mode & 0o077), messageMode, queueMode: 0o600 | (mode & 0o022) };
}

/** Opens `tmp`, and makes it first if it does not exist. Undefined if the base is gone. */
function openTmp({ base, path, directoryMode }) {
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      const tmp = unless(["ENOENT"], () => openDirectory(at(base, "tmp"), O_NOFOLLOW));
      if (tmp !== undefined) return tmp;
      const made = unless(["ENOENT", "EEXIST"], () => {
        fs.mkdirSync(at(base, "tmp"), directoryMode);
        return true;
      });
      if (!made && !unless(["ENOENT"], () => stat(at(base, "tmp")))) return undefined;
    }
  } catch (error) {
    throw baseError(`${path}/tmp`, error);
  }
  throw new Failure("io-error", "tmp comes and goes", { errno: "ENOENT" });
}

module.exports = {
  TRIES, at, freshCharacters, freshName, isSame, list, octets, openBase, openDirectory, openTmp, stat, within,
};
