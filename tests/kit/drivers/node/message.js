// Topics, patterns, and the octets of a message file (topics.md, message.md).
"use strict";

const { Failure } = require("./failure");
const { Unfit, isWellFormed, parse, render } = require("./json");

const TOPIC = /^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/;
const PATTERN = /^([A-Za-z0-9-]+|[=+])(\.([A-Za-z0-9-]+|[=+]))*$/;
const LONGEST = 200;
const LARGEST = 2 ** 32 - 1;
const PREFIX = Buffer.from("PMSG\x01", "latin1");

function isTopic(text) {
  return text.length <= LONGEST && TOPIC.test(text);
}

function isPattern(text) {
  return text.length <= LONGEST && PATTERN.test(text);
}

function checkTopic(topic) {
  if (!isTopic(topic)) throw new Failure("invalid-topic", "the topic breaks the grammar");
}

function checkPattern(pattern) {
  if (!isPattern(pattern)) throw new Failure("invalid-pattern", "the pattern breaks the grammar");
}

/** Row by row, the numbers of words that the terms so far can match: no backtracking (TOPIC-7). */
function matches(pattern, topic) {
  const words = topic.split(".");
  let reached = new Set([0]);
  for (const term of pattern.split(".")) {
    const next = new Set();
    for (const count of reached) {
      if (count === words.length) continue;
      if (term === "+") for (let n = count + 1; n <= words.length; n++) next.add(n);
      else if (term === "=" || term === words[count]) next.add(count + 1);
    }
    reached = next;
  }
  return reached.has(words.length);
}

/** MSG-8, MSG-10 and MSG-11. What `parse` refuses never comes here. */
function check(headers) {
  const scalar = (value) => value === null || ["string", "number", "boolean"].includes(typeof value);
  if (!(headers instanceof Map)) throw new SyntaxError("headers are an object");
  for (const [key, value] of headers) {
    if (!isWellFormed(key)) throw new SyntaxError("a key has a lone surrogate");
    if (value instanceof Unfit) throw new SyntaxError("a value is out of range");
    if (!scalar(value)) throw new SyntaxError("a value is not a scalar");
  }
}

function integer(value, octets) {
  const found = Buffer.alloc(octets);
  if (octets === 8) found.writeBigUInt64BE(value);
  else found.writeUInt32BE(value);
  return found;
}

function encode({ id, timestamp, topic, headers, content }) {
  checkTopic(topic);
  try {
    check(headers);
  } catch (error) {
    throw new Failure("invalid-headers", error.message);
  }
  const text = Buffer.from(headers.size ? render(headers) : "");
  for (const field of [text, content])
    if (field.length > LARGEST) throw new Failure("too-large", "a field is too long");
  const fields = [Buffer.from(topic), text, content];
  const parts = fields.flatMap((field) => [integer(field.length, 4), field]);
  return Buffer.concat([PREFIX, integer(id, 8), integer(timestamp, 8), ...parts]);
}

function decode(octets) {
  let at = 0;

  function take(length) {
    if (length > octets.length - at) throw new SyntaxError("the file ends too early"); // MSG-13
    at += length;
    return octets.subarray(at - length, at);
  }

  const field = () => take(take(4).readUInt32BE());
  const text = (field) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(field);
  try {
    if (!take(5).equals(PREFIX)) throw new SyntaxError("not a message of version 1");
    const id = take(8).readBigUInt64BE();
    if (id === 0n) throw new SyntaxError("the id is 0");
    const timestamp = take(8).readBigUInt64BE();
    const topic = field().toString("latin1");
    if (!isTopic(topic)) throw new SyntaxError("the topic breaks the grammar");
    const header = field();
    const headers = header.length ? parse(text(header)) : new Map();
    check(headers);
    const content = field();
    if (at < octets.length) throw new SyntaxError("octets after the content");
    return { id, timestamp, topic, headers, content };
  } catch (error) {
    if (error instanceof SyntaxError || error.code === "ERR_ENCODING_INVALID_ENCODED_DATA")
      throw new Failure("invalid-message", error.message);
    throw error;
  }
}

module.exports = { checkPattern, checkTopic, decode, encode, isPattern, matches };
