// The monitor on a terminal, in ink: thin, since what is shown and what keys do is decided by view.ts and state.ts. This is the
// only file that loads ink and react, and only the monitor's own command loads this file.
import { Box, render, Text, useApp, useInput, useWindowSize, type TextProps } from 'ink';
import { createElement, useEffect, useReducer, useRef, type ReactNode } from 'react';
import { commandsOf } from './keys.ts';
import type { Line, Look } from './layout.ts';
import { refresh, type Refresh } from './refresh.ts';
import { begin, changed } from './state.ts';
import { linesOf } from './view.ts';
import type { Batch } from '../batch/record.ts';
import type { ApiFault } from '../gateway-api.ts';

interface News {
  readonly batches: readonly Batch[];
  readonly more: boolean;
}

interface Shown {
  readonly url: string;
  readonly all: boolean;
  readonly every_ms: number;
  readonly first: News;
  readonly look: (signal: AbortSignal) => Promise<News>;
}

/** Until it is left; then the terminal is as it was. @throws what is a bug */
export async function showMonitor(shown: Shown): Promise<void> {
  // Ctrl-C is a key like others here. A CI machine's terminal is one too, where somebody asks for the monitor.
  const options = { alternateScreen: true, exitOnCtrlC: false, interactive: true, patchConsole: false };
  await render(createElement(Monitor, shown), options).waitUntilExit();
}

function Monitor({ url, all, every_ms, first, look }: Shown): ReactNode {
  const { exit } = useApp();
  const { columns, rows } = useWindowSize();
  const [state, tell] = useReducer(changed, undefined, () =>
    begin({ url, all, ...first, now_ms: Date.now(), columns, rows }),
  );
  const refreshing = useRef<Refresh>(undefined);
  useEffect(() => {
    const begun = refresh({
      look,
      every_ms,
      found: ({ batches, more }) => tell({ type: 'loaded', batches, more, now_ms: Date.now() }),
      failed: (why: ApiFault) => tell({ type: 'failed', why: `${why.message} (${why.code})`, now_ms: Date.now() }),
      broke: (error) => exit(error instanceof Error ? error : new Error('unknown')),
    });
    refreshing.current = begun;
    return () => begun.stop();
  }, [look, every_ms, exit]);
  useEffect(() => {
    const timer = setInterval(() => tell({ type: 'tick', now_ms: Date.now() }), 1000);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => tell({ type: 'resized', columns, rows }), [columns, rows]);
  useInput((input, key) => {
    for (const command of commandsOf(input, key)) {
      if (command === 'quit') exit();
      else if (command === 'refresh') refreshing.current?.now();
      else tell({ type: 'move', move: command });
    }
  });
  const lines = linesOf(state).map((line, at) => createElement(Row, { key: at, line }));
  return createElement(Box, { flexDirection: 'column' }, ...lines);
}

const LOOKS: Readonly<Record<Look, TextProps>> = {
  plain: {},
  dim: { dimColor: true },
  bold: { bold: true },
  good: { color: 'green' },
  bad: { color: 'red' },
  busy: { color: 'cyan' },
  warn: { color: 'yellow' },
  chosen: { inverse: true },
};

function Row({ line }: { readonly line: Line }): ReactNode {
  // An empty text would take no line.
  const pieces = line.length === 0 ? [{ text: ' ', look: 'plain' as const }] : line;
  const texts = pieces.map(({ text, look }, at) => createElement(Text, { key: at, ...LOOKS[look] }, text));
  return createElement(Text, { wrap: 'truncate' }, ...texts);
}
