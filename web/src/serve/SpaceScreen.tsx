// Space: the picture and its table, of the last reading.

import { Space, Tags } from "../Space";
import type { Report } from "./model";
import { Copy, Read, Title, When } from "./parts";
import { session, useReading } from "./state";

export function SpaceScreen() {
  const report = useReading<Report>("report", ["report"]);
  return (
    <>
      <Title>Space</Title>
      <Read of={report.value}>
        {(found) => (
          <>
            <p class="quiet">
              What removing a part alone frees; what it shares with others, no part frees alone. Each blob counts once.
              {found.read !== null && (
                <>
                  {" "}
                  Read <When when={found.read} />.
                </>
              )}
            </p>
            <Space root={found.space.root} command={session.value?.command ?? ""} shown={(command) => <Copy command={command} />} />
            <Tags root={found.space.root} />
          </>
        )}
      </Read>
    </>
  );
}
