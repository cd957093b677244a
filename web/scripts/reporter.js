/** How tests are told of: a line for each, all about those that fail, and a last line that says how many. */

import { inspect } from 'node:util';

/** @param {AsyncIterable<any>} events of node:test */
export default async function* report(events) {
  let passed = 0;
  /** @type {string[]} */
  const failures = [];
  for await (const { type, data } of events) {
    if (type === 'test:stderr' || type === 'test:stdout') yield data.message;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    // A file is a test, too, and counts where it fails as a whole: it can't be read, or ends early.
    const { error } = data.details;
    const file = data.nesting === 0 && data.name === data.file;
    if (type === 'test:pass') {
      if (file || data.skip !== undefined) continue;
      passed += 1;
      yield `ok ${data.name} (${(data.details.duration_ms / 1000).toFixed(1)} s)\n`;
    } else if (!file || error?.failureType !== 'subtestsFailed') {
      failures.push(`${data.name}, in ${data.file}:${data.line ?? 1}\n${inspect(error?.cause ?? error)}\n`);
      yield `not ok ${data.name} (${(data.details.duration_ms / 1000).toFixed(1)} s)\n`;
    }
  }
  for (const failure of failures) yield `\n${failure}`;
  yield `${passed} passed, ${failures.length} failed\n`;
}
