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
 * @typedef {{ threads?: number, engine: 'wasm' | 'webgpu', note: string | null }} Ready what decodes, and why it is not WebGPU
 * @param {(event: { progress?: { done: number, of: number }, ready?: Ready }) => void} onEvent
 */
export function startWorker(onEvent) {
  const engine = new URLSearchParams(location.search).get('engine');
  const worker = new Worker(new URL(`worker.js${engine ? `?${new URLSearchParams({ engine })}` : ''}`, document.baseURI), { type: 'module' });
  let count = 0;
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: Error) => void, onNews?: (news: any) => void }>} */
  const waiting = new Map();
  worker.onmessage = ({ data: { number, news, answer, error, ...event } }) => {
    if (number === undefined) {
      onEvent(event);
      return;
    }
    const question = waiting.get(number);
    if (news) {
      question?.onNews?.(news);
      return;
    }
    waiting.delete(number);
    if (error) question?.reject(new Refusal(error));
    else question?.resolve(answer);
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(`the decoder stopped: ${event.message}`));
    waiting.clear();
  };
  /**
   * @param {string} ask @param {object} [details]
   * @param {{ onNews?: (news: any) => void, signal?: AbortSignal }} [options] `onNews`: told what comes ahead of the answer
   * @returns {Promise<any>}
   */
  return (ask, details = {}, { onNews, signal } = {}) =>
    new Promise((resolve, reject) => {
      const number = count++;
      waiting.set(number, { resolve, reject, onNews });
      worker.postMessage({ ask, number, ...details });
      signal?.addEventListener('abort', () => {
        worker.postMessage({ ask: 'cancel', of: number });
        waiting.delete(number);
        reject(signal.reason);
      });
    });
}
