// Streams of 20 frames a second, many at once: what a frame and a stream cost the gateway, how much later the frames come,
// and whether all of them do.
import { direct } from '../gateways/direct.ts';
import { present } from '../gateways/gateway.ts';
import { lanyard } from '../gateways/lanyard.ts';
import { nginx } from '../gateways/nginx.ts';
import { others } from '../gateways/others.ts';
import { portkey } from '../gateways/portkey.ts';
import type { StreamTimes } from '../load/streams.ts';
import type { Figure, Measure, Sample } from '../measure.ts';
import { openStreams, type Crowd } from './crowd.ts';

const SIZES = [500, 1000, 1500];
const QUICK_SIZES = [100];
const EVERY_MS = 50;

export const streams: Measure = {
  name: 'streams',
  title: `Streams of ${1000 / EVERY_MS} frames/s, 230 bytes each`,
  base: 'nginx',
  figures: [...QUICK_SIZES, ...SIZES].flatMap(figuresOf),
  open: ({ quick, note }) => {
    const sizes = quick ? QUICK_SIZES : SIZES;
    const crowds = sizes.map((size): Crowd => {
      return {
        streams: size,
        every_ms: EVERY_MS,
        opened_per_second: 500,
        settle_seconds: quick ? 0.2 : 1,
        seconds: quick ? 1 : 3,
      };
    });
    const gateways = present([direct, nginx, lanyard, portkey, ...others], note);
    return Promise.resolve(gateways.map((one) => openStreams(one, crowds, sampleOf, note)));
  },
};

function figuresOf(size: number): Figure[] {
  const at = `${size} streams`;
  const time = { unit: 'ms', digits: 2, added_to: 'direct' };
  return [
    {
      name: `cpu_us_${size}`,
      title: `${at}: CPU a frame`,
      unit: 'µs',
      target: {
        text: '≤ 2 × nginx; aim 1.4 ×',
        met: (_own, ratio) => (ratio('nginx') ?? Infinity) <= 2,
      },
    },
    {
      name: `stream_kb_${size}`,
      title: `${at}: resident, a stream`,
      unit: 'KB',
      ...(size === 1000 && { target: { text: '≤ 80 KB; aim 32', met: (own: number) => own <= 80 } }),
    },
    { name: `first_p50_${size}`, title: `${at}: to the first frame, p50`, ...time },
    { name: `first_p99_${size}`, title: `${at}: to the first frame, p99`, ...time },
    { name: `delay_p50_${size}`, title: `${at}: delay of a frame, p50`, ...time },
    { name: `delay_p99_${size}`, title: `${at}: delay of a frame, p99`, ...time },
    { name: `gap_p99_${size}`, title: `${at}: gap longer than sent, p99`, ...time },
    {
      name: `lost_${size}`,
      title: `${at}: frames lost or changed`,
      unit: 'count',
      digits: 0,
      target: { text: 'none', met: (own) => own === 0 },
    },
    { name: `load_share_${size}`, title: `${at}: load and mock, of their core`, unit: '%', digits: 0 },
  ];
}

function sampleOf({ streams: size }: Crowd, seen: StreamTimes, has_process: boolean): Sample {
  return {
    ...(has_process && {
      [`cpu_us_${size}`]: (seen.cpu_ms * 1000) / seen.frames,
      [`stream_kb_${size}`]: (seen.rss_kb - seen.rss_before_kb) / size,
    }),
    [`first_p50_${size}`]: seen.first_p50,
    [`first_p99_${size}`]: seen.first_p99,
    [`delay_p50_${size}`]: seen.delay_p50,
    [`delay_p99_${size}`]: seen.delay_p99,
    [`gap_p99_${size}`]: seen.gap_p99,
    [`lost_${size}`]: seen.lost,
    [`load_share_${size}`]: seen.load_cpu_ms / seen.seconds / 10,
  };
}
