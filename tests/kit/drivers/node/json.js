// JSON as the message file wants it: RFC 8259, no key twice, and numbers and strings that every
// language can hold. `JSON.parse` rounds large integers and forgets keys that occur twice.
"use strict";

const DEEPEST = 100; // a parser that calls itself has to end somewhere

/** A number or a string that headers must not have (MSG-10, MSG-11). Elsewhere it is a wrong type. */
class Unfit {}

/** Objects become maps: in an object of JavaScript the key `__proto__` is special. */
function parse(text) {
  let at = 0;

  function take(pattern) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found;
  }

  function skip(octet) {
    take(/[ \t\n\r]*/y);
    if (text[at] !== octet) return false;
    at++;
    return true;
  }

  function need(octet) {
    if (!skip(octet)) throw new SyntaxError(`expected ${octet} at ${at}`);
  }

  function string() {
    need('"');
    const start = at - 1;
    for (;;) {
      const end = text.indexOf('"', at);
      if (end < 0) throw new SyntaxError("a string without an end");
      let escapes = end;
      while (text[escapes - 1] === "\\" && escapes > at) escapes--;
      at = end + 1;
      if ((end - escapes) % 2 === 0) break;
    }
    return JSON.parse(text.slice(start, at));
  }

  function number([digits, fraction, exponent]) {
    const value = Number(digits);
    const fits = fraction || exponent ? Number.isFinite(value) : Number.isSafeInteger(value);
    return fits ? value : new Unfit();
  }

  function object(depth) {
    const members = new Map();
    if (skip("}")) return members;
    do {
      const key = string();
      if (members.has(key)) throw new SyntaxError("a key occurs twice");
      need(":");
      members.set(key, value(depth + 1));
    } while (skip(","));
    need("}");
    return members;
  }

  function array(depth) {
    const elements = [];
    if (skip("]")) return elements;
    do elements.push(value(depth + 1));
    while (skip(","));
    need("]");
    return elements;
  }

  function value(depth) {
    if (depth > DEEPEST) throw new SyntaxError("nested too deeply");
    if (skip("{")) return object(depth);
    if (skip("[")) return array(depth);
    if (text[at] === '"') {
      const found = string();
      return isWellFormed(found) ? found : new Unfit();
    }
    const digits = take(/-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y);
    if (digits) return number(digits);
    const word = take(/true|false|null/y);
    if (!word) throw new SyntaxError(`expected a value at ${at}`);
    return JSON.parse(word[0]);
  }

  const found = value(0);
  take(/[ \t\n\r]*/y);
  if (at < text.length) throw new SyntaxError(`more text at ${at}`);
  return found;
}

function isWellFormed(text) {
  return !/\p{Surrogate}/u.test(text);
}

/** A number with a fraction or an exponent if it is beyond the integers that headers may have. */
function render(value) {
  if (value instanceof Map) {
    const members = [...value].map(([key, item]) => `${JSON.stringify(key)}: ${render(item)}`);
    return `{${members.join(", ")}}`;
  }
  if (Object.is(value, -0)) return "-0.0";
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return value.toExponential();
  return JSON.stringify(value);
}

module.exports = { Unfit, isWellFormed, parse, render };
