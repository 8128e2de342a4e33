/*
 * Append: events become entries of one chain, and nothing is acknowledged that the standby may not have.
 *
 * Processes
 *   lane      a lane of a service's process (`journal.writing.append.Appender.commit`, with `journal.writing.memory`
 *             and `journal.writing.commits`). The first SHARED lanes are of process 0, and share its heads and its
 *             memory, as two drafts do of which one is on its way to the disk; the others are of process 1
 *   disk      the write-ahead log that reaches the primary's disk
 *   standby   the write-ahead log that reaches the standby, never ahead of the primary's disk
 *   faults    the primary crashes and starts again; the primary is lost and the standby takes over; a process of the
 *             service is killed; CRASHES in all
 *
 * A statement is one step: `journal.append` compares heads, finds copies, inserts and moves the head in a transaction
 * of its own, and is visible at once. `journal.flush` ends when disk and standby have what was visible when it began.
 * A client submits any event to any lane, again and again: it may not have got its answer. A new salt makes a new
 * leaf: here the event, the lane, the epoch of the draft and whose turn it is, so that nothing that was lost comes back. A chain hash
 * is the last leaf: two chains that hold the same leaf at the same index began alike.
 *
 * Properties
 *   lost      an entry that was acknowledged is where its receipt says, after every crash and every failover
 *   forked      no index is named by the receipts of two entries
 *   two_receipts     an event has one receipt, whoever is asked, how often ever
 *   false_stop   no chain is false_stop while nothing acknowledged was lost
 *   own_fork  with LOSSY (an asynchronous standby, so that acknowledged entries are lost): what one process has
 *             acknowledged stops it from giving the same index to another entry
 *
 * Left out: batches of many events and chains, which are whole or not at all (one transaction); days, fences and closed
 * days (seal.pml, purge.pml); `append_locked`, which reads and appends under a row lock and so is a draft that nothing
 * comes between; an old primary that still answers (fencing it is the cluster's part); `Memory.look`, which finds more
 * than is proved here, later; an answer that arrives after the head has moved again: it is compared with what was
 * acknowledged before it was asked, here at once.
 */
#ifndef EVENTS
#define EVENTS 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#ifndef LANES
#define LANES 2
#endif
#ifdef LOSSY
#define ASYNC_STANDBY
#define SHARED LANES
#endif
#ifndef SHARED
#define SHARED 1
#endif
#define PROCESS_OF(lane) (lane >= SHARED -> 1 : 0)
#define EVENT_OF(leaf) ((leaf - 1) % EVENTS)
#define LEAF(event, lane) (1 + event + EVENTS * (lane + LANES * (2 * epoch + turn)))
#define HASH(n) ((n) == 0 -> 0 : chain[(n) - 1])
#define LOWER(a, b) ((a) < (b) -> (a) : (b))

#ifdef ASYNC_STANDBY
#define DURABLE(n) (on_disk >= n)
#else
#define DURABLE(n) (on_disk >= n && on_standby >= n)
#endif

/* The database: the leaves of the chain, how many are visible, and how many have come how far. */
byte chain[EVENTS], size, on_disk, on_standby, epoch;
byte crashes = CRASHES, cancels = CANCELS;

/* Each process: its head, which may be out of date, and the head that it has acknowledged. */
byte head_size[2], head_hash[2], known_size[2], known_hash[2];
bool has_head[2], stops[2], killed[LANES];

/* What clients have: of each event its receipt, index and leaf; with LOSSY, by process, the leaf that it named. */
byte told_index[EVENTS], told_leaf[EVENTS];
#ifdef LOSSY
byte own[2 * EVENTS];
#endif
bool lost, forked, two_receipts, false_stop, own_fork;

inline look_for_lost()
{
#ifndef LOSSY
    for (e : 0 .. EVENTS - 1) {
        lost = lost || (told_leaf[e] != 0 && (told_index[e] >= size || chain[told_index[e]] != told_leaf[e]))
    };
    e = 0;
    assert(!lost);
#endif
    skip
}

inline give_receipt(what, at, leaf)
{
#ifdef LOSSY
    own_fork = (own[2 * at + mine] != 0 && own[2 * at + mine] != leaf);
    own[2 * at + mine] = leaf;
    assert(!own_fork);
    told_leaf[what] = 1;
#else
    lost = at >= size || chain[at] != leaf;
    assert(!lost);
    two_receipts = (told_leaf[what] != 0 && (told_leaf[what] != leaf || told_index[what] != at));
    for (e : 0 .. EVENTS - 1) {
        forked = forked || (told_leaf[e] != 0 && told_index[e] == at && told_leaf[e] != leaf)
    };
    e = 0;
    assert(!forked);
    assert(!two_receipts);
    told_index[what] = at;
    told_leaf[what] = leaf;
#endif
#ifdef REACH
    assert(!(crashes == 0 && told_leaf[0] != 0 && told_leaf[EVENTS - 1] != 0));
#endif
}

/* Memory.compare: stop the chain if the head read is behind the one that was acknowledged. */
inline compare()
{
#ifndef NO_MEMORY
    if
    :: size < known_size[mine] || (size == known_size[mine] && HASH(size) != known_hash[mine]) ->
        stops[mine] = true;
#ifndef LOSSY
        false_stop = true; assert(!false_stop)
#endif
    :: else
    fi;
#endif
    skip
}

/* Memory.accept: what was acknowledged is looked for in the table before a head that does not continue it counts. */
inline remember(from_size, from_hash, n, n_hash)
{
#if !defined(UNCONFIRMED) && !defined(NO_MEMORY)
    if
    :: known_size[mine] != 0 && (from_size != known_size[mine] || from_hash != known_hash[mine]) ->
        if
        :: size < known_size[mine] || chain[known_size[mine] - 1] != known_hash[mine] -> stops[mine] = true
        :: else
        fi
    :: else
    fi;
#endif
    if
#ifndef MEMORY_GOES_BACK
    :: n <= known_size[mine]
#endif
    :: else -> known_size[mine] = n; known_hash[mine] = n_hash
    fi
}

inline forget()
{
    base = 0; hash = 0; leaf = 0; at = 0; since = 0; event = 0
}

proctype lane(byte me)
{
    byte event, base, hash, leaf, at, since, e;
    bit turn;
    byte mine = PROCESS_OF(me);

end_idle:
    {
    atomic {
        !stops[mine] ->
        select(event : 0 .. EVENTS - 1);
draft:
        if
        :: stops[mine] -> goto settled          /* fail(come_back) */
        :: !stops[mine] && !has_head[mine] ->   /* read_heads, _learn */
            compare();
            if
            :: stops[mine] -> goto settled
            :: else -> head_size[mine] = size; head_hash[mine] = HASH(size); has_head[mine] = true
            fi
        :: else
        fi;
        base = head_size[mine]; hash = head_hash[mine]; leaf = LEAF(event, me);
        head_size[mine] = base + 1; head_hash[mine] = leaf
    };
    atomic {                                    /* journal.append */
        since = epoch;
        if
#ifndef NO_CAS
        :: size != base || HASH(size) != hash ->  /* conflict: _amend */
            compare();
            head_size[mine] = size; head_hash[mine] = HASH(size);
            goto draft
#endif
        :: else ->
            at = 0;
            do
            :: at < size && EVENT_OF(chain[at]) != event -> at++
            :: else -> break
            od;
            if
#ifndef NO_DEDUPE
            :: at < size -> leaf = chain[at]; goto known
#endif
            :: else ->
                at = base;
                if
                :: at == EVENTS -> goto settled   /* no room in the model */
                :: else -> chain[at] = leaf; size = at + 1
                fi;
#ifdef LOSSY
                turn = !turn;
#endif
#ifdef REMEMBER_UNFLUSHED
                known_size[mine] = at + 1; known_hash[mine] = leaf;
#endif
                on_disk = LOWER(on_disk, at); on_standby = LOWER(on_standby, at)
            fi
        fi
    };
    atomic {                                    /* _flush, then _acknowledge */
        if
#ifdef ACK_BEFORE_FLUSH
        :: true
#endif
#ifdef FLUSH_ELSEWHERE
        :: DURABLE(LOWER(at + 1, size))         /* whatever a new connection sees */
#else
        :: since == epoch && DURABLE(at + 1)
        :: since != epoch -> goto outage        /* a crash has ended the connection that appended */
#endif
        /* The wait is cancelled: a warning, as if it were durable (Pools.end_if_unreplicated), or the session ends. */
        :: since == epoch && cancels > 0 && on_disk > at ->
            cancels--;
#ifndef IGNORE_WARNING
            goto outage
#endif
        fi;
        remember(base, hash, base + 1, leaf);
        if
        :: !stops[mine] -> give_receipt(event, at, leaf)
        :: else
        fi;
        goto settled
    };
known:
    atomic {                                    /* the head that was compared is flushed with what was found */
        if
#ifdef KNOWN_UNFLUSHED
        :: true
#else
        :: since == epoch && DURABLE(base)
        :: since != epoch -> goto outage
#endif
        fi;
        head_size[mine] = base; head_hash[mine] = hash;
#ifndef KNOWN_NOT_REMEMBERED
        remember(base, hash, base, hash);
#endif
        if
        :: !stops[mine] -> give_receipt(event, at, leaf)
        :: else
        fi;
        goto settled
    };
outage:
    /* _after_outage: written or not; the heads are read, and the same event is appended again */
    atomic { has_head[mine] = false; head_size[mine] = 0; head_hash[mine] = 0; goto draft };
settled:
    atomic { forget(); goto end_idle }
    } unless {
        atomic { killed[me] -> killed[me] = false; forget(); goto end_idle }
    }
}

active proctype disk()
{
end:
    do
    :: atomic { on_disk < size -> on_disk++ }
    od
}

active proctype standby()
{
end:
    do
    :: atomic { on_standby < on_disk -> on_standby++ }
    od
}

inline come_up_with(n)
{
    crashes--;
    epoch++;
    for (e : n .. EVENTS - 1) { chain[e] = 0 };
    e = 0;
    size = n;
    on_disk = n;
    on_standby = LOWER(on_standby, n);
    look_for_lost()
}

active proctype faults()
{
    byte n, e;
end:
    do
    :: d_step { crashes > 0 -> n = on_disk; come_up_with(n); n = 0 }
    /* The new primary gets a standby before anything is acknowledged again. */
    :: d_step { crashes > 0 && on_standby < on_disk -> n = on_standby; come_up_with(n); n = 0 }
    :: atomic {                                 /* kill -9 of process 0 or 1: its lanes, heads and memory end */
        crashes > 0 ->
        crashes--;
        if
        :: n = 0
        :: SHARED < LANES -> n = 1
        fi;
        for (e : 0 .. LANES - 1) { killed[e] = killed[e] || PROCESS_OF(e) == n };
        has_head[n] = false; stops[n] = false; head_size[n] = 0; head_hash[n] = 0;
        known_size[n] = 0; known_hash[n] = 0;
#ifdef LOSSY
        for (e : 0 .. EVENTS - 1) { own[2 * e + n] = 0 };
#endif
        e = 0; n = 0
    }
    od
}

init
{
    byte e;
    atomic {
        for (e : 0 .. LANES - 1) { run lane(e) };
        e = 0
    }
}
