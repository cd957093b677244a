/** Questions to the worker, and its answers. */

/** What the worker says went wrong. */
export class Refusal extends Error {
  /** @param {{ name: string, message: string }} error */
  constructor({ name, message }) {
    super(message);
    this.name = name;
  }
}

/**
 * @param {(event: { progress?: { done: number, of: number }, ready?: { threads: number } }) => void} onEvent
 */
export function startWorker(onEvent) {
  const worker = new Worker(new URL('worker.js', document.baseURI), { type: 'module' });
  let count = 0;
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: Error) => void }>} */
  const waiting = new Map();
  worker.onmessage = ({ data }) => {
    if (data.number === undefined) {
      onEvent(data);
      return;
    }
    const question = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error) question?.reject(new Refusal(data.error));
    else question?.resolve(data.answer);
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(`the decoder stopped: ${event.message}`));
    waiting.clear();
  };
  /** @param {string} ask @param {object} [details] @returns {Promise<any>} */
  return (ask, details = {}) =>
    new Promise((resolve, reject) => {
      const number = count++;
      waiting.set(number, { resolve, reject });
      worker.postMessage({ ask, number, ...details });
    });
}
