// What stands between a frozen connection and its user: shut, nothing passes either way until somebody opens it.

export class Gate {
  #shut = false;
  #waiting: (() => void)[] = [];

  get shut(): boolean {
    return this.#shut;
  }

  close(): void {
    this.#shut = true;
  }

  open(): void {
    this.#shut = false;
    for (const pass of this.#waiting.splice(0)) pass();
  }

  /** Resolves at once where it is open. */
  async opened(): Promise<void> {
    while (this.#shut) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}
