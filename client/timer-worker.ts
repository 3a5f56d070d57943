// Timers in a worker: those of a hidden tab's own thread are held back to one a second, and later to one a minute.

const running = new Map<number, ReturnType<typeof setTimeout>>();

addEventListener("message", ({ data }: MessageEvent<{ id: number; delay: number | undefined }>) => {
  const { id, delay } = data;
  clearTimeout(running.get(id));
  running.delete(id);
  if (delay === undefined) return;
  const fire = (): void => {
    running.delete(id);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker is no window
    self.postMessage(id);
  };
  running.set(id, setTimeout(fire, delay));
});
