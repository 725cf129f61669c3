// Claiming and removing directories (channel.md, closing; reap.md).
"use strict";

const fs = require("node:fs");
const { at, freshName, list, openDirectory, within } = require("./base");
const { ioError, nameOf, unless } = require("./failure");

const { O_NOFOLLOW } = fs.constants;
const O_PATH = 0o10000000; // Linux: opens a directory that may not be read
const GONE = ["ENOENT", "ENOTDIR"];
const LATE = ["ENOTEMPTY", "EEXIST"];

/**
 * Removes a directory with everything in it. A directory deeper in it is emptied after it was moved
 * to the top, so that depth costs neither stack nor descriptors.
 */
function removeDirectory(parent, name) {
  const path = at(parent, name);
  const opened = unless(GONE, () => openDirectory(path, O_NOFOLLOW | O_PATH));
  if (opened === undefined) return;
  within(opened, (directory) => {
    allow(directory);
    for (;;) {
      const failed = empty(directory, directory);
      try {
        fs.rmdirSync(path);
        return;
      } catch (error) {
        if (nameOf(error) === "ENOENT") return;
        if (failed) throw failed;
        if (!LATE.includes(nameOf(error))) throw ioError(error);
      }
    }
  });
}

/** The mode of a directory of the same user is no obstacle (CHAN-14). */
function allow(directory) {
  if ((fs.fstatSync(directory).mode & 0o700) === 0o700) return;
  unless(["EPERM", "EROFS"], () => fs.chmodSync(at(directory), 0o700));
}

/** Empties a directory; what is a directory in it goes to the top. Returns the first error. */
function empty(directory, top) {
  let failed;
  let names = [];
  try {
    names = list(directory);
  } catch (error) {
    failed = ioError(error);
  }
  for (const name of names) {
    try {
      if (isRemoved(directory, name)) continue;
      if (directory !== top) move(directory, name, top);
      else failed = emptied(top, name) ?? failed;
    } catch (error) {
      failed ??= ioError(error);
    }
  }
  return failed;
}

/** Removes an entry. False: it is a directory. */
function isRemoved(directory, name) {
  try {
    fs.unlinkSync(at(directory, name));
  } catch (error) {
    if (nameOf(error) === "EISDIR") return false; // Linux
    if (nameOf(error) !== "ENOENT") throw error;
  }
  return true;
}

function move(directory, name, top) {
  const opened = unless(GONE, () => openDirectory(at(directory, name), O_NOFOLLOW | O_PATH));
  if (opened === undefined) return;
  within(opened, allow); // to move a directory changes its entry `..`
  unless(["ENOENT"], () => fs.renameSync(at(directory, name), at(top, freshName())));
}

function emptied(top, name) {
  const opened = unless(GONE, () => openDirectory(at(top, name), O_NOFOLLOW | O_PATH));
  if (opened === undefined) return undefined;
  const failed = within(opened, (directory) => {
    allow(directory);
    return empty(directory, top);
  });
  if (!failed) unless(["ENOENT", ...LATE], () => fs.rmdirSync(at(top, name)));
  return failed;
}

module.exports = { removeDirectory };
