/** Work that takes seconds, and lets others be heard meanwhile. */

/** Milliseconds between pauses. */
const OFTEN = 50;

/** Pauses in work that would keep its thread to itself otherwise. */
export class Pauses {
  /** @param {AbortSignal} [signal] that ends the work */
  constructor(signal) {
    this.signal = signal;
    this.last = performance.now();
  }

  /** Lets events in, if none were for a while. @throws the signal's reason, if it says that the work is to end */
  async rest() {
    if (performance.now() - this.last > OFTEN) {
      // A message comes behind all events that wait by now; a timer would come milliseconds later.
      const { port1, port2 } = new MessageChannel();
      await new Promise((resolve) => {
        port1.onmessage = resolve;
        port2.postMessage(null);
      });
      port1.close();
      this.last = performance.now();
    }
    this.signal?.throwIfAborted();
  }
}
