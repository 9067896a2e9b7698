// Streams that hardly say anything, one frame a second each, as many as one process holds: thoughts take long, and people
// leave chats open.
import { present } from '../gateways/gateway.ts';
import { lanyard } from '../gateways/lanyard.ts';
import { nginx } from '../gateways/nginx.ts';
import { portkey } from '../gateways/portkey.ts';
import type { StreamTimes } from '../load/streams.ts';
import type { Figure, Measure, Sample } from '../measure.ts';
import { openStreams, type Crowd } from './crowd.ts';

/** Each takes two descriptors in the gateway, and one port of its 28,000 towards the mock. */
const SIZES = [5000, 9000];
const QUICK_SIZES = [200];
const RESIDENT_MB_MAX = 500;

export const idle: Measure = {
  name: 'idle',
  title: 'Streams of one frame a second',
  base: 'nginx',
  // Half a minute a size and subject; and memory, which is what this is about, hardly differs from one to the next.
  rounds_max: 1,
  figures: [...QUICK_SIZES, ...SIZES].flatMap(figuresOf),
  open: ({ quick, note }) => {
    const sizes = quick ? QUICK_SIZES : SIZES;
    const crowds = sizes.map((size): Crowd => {
      return {
        streams: size,
        every_ms: 1000,
        opened_per_second: 500,
        settle_seconds: quick ? 0.2 : 1,
        seconds: quick ? 1 : 5,
      };
    });
    return Promise.resolve(
      present([nginx, lanyard, portkey], note).map((one) => openStreams(one, crowds, sampleOf, note)),
    );
  },
};

function figuresOf(size: number): Figure[] {
  const at = `${size} streams`;
  return [
    {
      name: `resident_mb_${size}`,
      title: `${at}: resident`,
      unit: 'MB',
      digits: 0,
      target: {
        text: `< ${RESIDENT_MB_MAX} MB${size > 5000 ? ', an aim' : ''}`,
        met: (own) => own < RESIDENT_MB_MAX,
      },
    },
    { name: `stream_kb_${size}`, title: `${at}: resident, a stream`, unit: 'KB' },
    { name: `cpu_share_${size}`, title: `${at}: CPU, of a core`, unit: '%' },
    {
      name: `lost_${size}`,
      title: `${at}: frames lost or changed`,
      unit: 'count',
      digits: 0,
      target: { text: 'none', met: (own) => own === 0 },
    },
  ];
}

function sampleOf({ streams: size }: Crowd, seen: StreamTimes): Sample {
  return {
    [`resident_mb_${size}`]: seen.rss_kb / 1024,
    [`stream_kb_${size}`]: (seen.rss_kb - seen.rss_before_kb) / size,
    [`cpu_share_${size}`]: seen.cpu_ms / seen.seconds / 10,
    [`lost_${size}`]: seen.lost,
  };
}
