// Reaping: the removal of what dead processes left behind (reap.md).
"use strict";

const fs = require("node:fs");
const { at, freshName, list, openTmp, stat, within } = require("./base");
const { Failure, again, nameOf, unless } = require("./failure");
const { patternOf } = require("./publisher");
const { removeDirectory } = require("./removal");

const { O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = fs.constants;
const GONE = ["ENOENT", "ENOTDIR"];
const STALE = 3600; // seconds
const LARGEST_PID = 2 ** 31 - 1;
const SECOND = 1_000_000_000n; // in nanoseconds

const BEGAN = BigInt(Math.round(performance.timeOrigin * 1e6));

/** Whether something that changed at this time is stale. */
function staleAfter(seconds = STALE) {
  return (changed) => BigInt(Date.now()) * 1_000_000n - changed > BigInt(Math.round(seconds * 1e9));
}

/** Whether a process has a queue open for reading: true, false, or undefined if not known. */
function hasReader(queue) {
  try {
    if (!unless(GONE, () => stat(queue))?.isFIFO()) return false;
    fs.closeSync(fs.openSync(queue, O_WRONLY | O_NONBLOCK | O_NOFOLLOW));
    return true;
  } catch (error) {
    return nameOf(error) === "ENXIO" ? false : undefined; // CHAN-9
  }
}

function runs(pid) {
  if (pid > LARGEST_PID) return false;
  if (unless(["ESRCH"], () => unless(["EPERM"], () => process.kill(pid, 0)) ?? true) === undefined)
    return false;
  const path = `/proc/${pid}/stat`;
  const status = unless(["ENOENT", "ESRCH"], () => again(() => fs.readFileSync(path, "latin1")));
  return status === undefined || status.slice(status.lastIndexOf(")") + 2)[0] !== "Z"; // REAP-17
}

function changed(found) {
  return found.mtimeNs > found.ctimeNs ? found.mtimeNs : found.ctimeNs;
}

/** REAP-16 */
function isOfEarlierProcess(pid, time) {
  const margin = time % SECOND ? SECOND / 10n : 2n * SECOND;
  return pid === process.pid && time < BEGAN - margin;
}

function isDeadChannel(base, name, isStale) {
  const directory = stat(at(base, name));
  if (!directory.isDirectory()) return false;
  const pid = Number(name.slice(name.lastIndexOf("_") + 1));
  const queue = unless(["ENOENT"], () => stat(at(base, `${name}/queue`)));
  if (!queue) return isStale(directory.ctimeNs) && !runs(pid); // REAP-6
  if (!queue.isFIFO() || hasReader(at(base, `${name}/queue`)) !== false) return false;
  const time = changed(queue);
  return isStale(time) || isOfEarlierProcess(pid, time) || !runs(pid);
}

/** REAP-12, REAP-13, REAP-18 */
function remove(directory, name, tmp) {
  const fresh = freshName();
  try {
    fs.renameSync(at(directory, name), at(tmp, fresh));
  } catch (error) {
    if (nameOf(error) !== "EXDEV") throw error;
    unless(["ENOENT"], () => fs.unlinkSync(at(directory, `${name}/queue`)));
    removeDirectory(directory, name);
    return;
  }
  if (hasReader(at(tmp, `${fresh}/queue`)) === false) removeDirectory(tmp, fresh);
  else fs.renameSync(at(tmp, fresh), at(directory, name));
}

function removeEntry(tmp, name, isStale) {
  const found = stat(at(tmp, name));
  if (!isStale(found.ctimeNs)) return;
  if (!found.isDirectory()) fs.unlinkSync(at(tmp, name));
  else if (hasReader(at(tmp, `${name}/queue`)) === false) remove(tmp, name, tmp);
}

/** An entry that cannot be examined or removed is passed over (REAP-11, REAP-14). */
function passOver(work) {
  try {
    work();
  } catch (error) {
    if (!(error instanceof Failure)) nameOf(error);
  }
}

/** Reaps an open base. */
function reap(place, isStale = staleAfter()) {
  const { base } = place;
  const tmp = openTmp(place);
  if (tmp === undefined) return;
  within(tmp, () => {
    const names = unless(GONE, () => list(base)) ?? [];
    for (const name of names.filter((name) => patternOf(name) !== undefined))
      passOver(() => isDeadChannel(base, name, isStale) && remove(base, name, tmp));
    for (const name of unless(GONE, () => list(tmp)) ?? []) passOver(() => removeEntry(tmp, name, isStale));
  });
}

module.exports = { reap, staleAfter };
