// One at a time, in the order of asking.

export class Mutex {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `task` once every earlier one has settled; a failed one does not stop the next. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => {});
    return result;
  }
}
