// LiteLLM counts in seconds; our durations are whole milliseconds and written with the largest unit that fits.

/** What a timer of ours can hold. */
const MS_MAX = 2_147_483_647;

export function duration_ms(seconds: number | undefined): number | undefined {
  const ms = seconds === undefined ? 0 : Math.round(seconds * 1000);
  return ms >= 1 && ms <= MS_MAX ? ms : undefined;
}

export function written(ms: number): string {
  if (ms % 60_000 === 0) return `${ms / 60_000}m`;
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}
