#!/usr/bin/env bash
# Run a real SLURM of one node on this machine, without systemd.
# It needs root, and Debian's packages: apt-get install slurm-wlm munge
#     scripts/local_slurm.sh start [DIR]   starts munged, slurmctld and slurmd, with files in DIR
#     scripts/local_slurm.sh stop [DIR]    stops what `start` has started, and nothing else
# DIR is /tmp/gentrain-slurm by default. To use it, set SLURM_CONF=DIR/slurm.conf; `start` prints
# that line. There is no accounting database, so `sacct` shows nothing.
set -euo pipefail
what=${1:-start}
dir=${2:-/tmp/gentrain-slurm}

ended() { # ended NAME: whether the process whose id is in DIR/NAME.pid is gone
  local pid
  pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 0
  ! kill -0 "$pid" 2>/dev/null
}

stop() {
  for name in slurmd slurmctld munged; do
    ended "$name" && continue
    kill "$(cat "$dir/$name.pid")"
    for _ in $(seq 100); do ended "$name" && break; sleep 0.1; done
  done
}

start() {
  for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null && continue
    echo "no $program; apt-get install slurm-wlm munge" >&2
    exit 4
  done
  if [ "$(id -u)" != 0 ]; then
    echo "slurmd starts the jobs of every user; run this as root" >&2
    exit 2
  fi
  mkdir -p "$dir/state" "$dir/spool" "$dir/munge"
  cores=$(nproc)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  [ -s "$dir/munge/key" ] || (umask 077; head -c 1024 /dev/urandom >"$dir/munge/key")
  chown -R munge: "$dir/munge"
  chmod 711 "$dir"
  chmod 755 "$dir/munge"
  cat >"$dir/slurm.conf" <<CONF
ClusterName=gentrain
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2,requeue_delay=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=60
ReturnToService=2
MpiDefault=none
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  if ended munged; then
    setpriv --reuid=munge --regid=munge --clear-groups \
      munged --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
      --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    cp "$dir/munge/pid" "$dir/munged.pid"
  fi
  export SLURM_CONF=$dir/slurm.conf
  if ended slurmctld; then slurmctld; fi
  if ended slurmd; then slurmd -N "$(hostname)"; fi
  for _ in $(seq 100); do
    if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.3
  done
  echo "the node is not idle: see $dir/slurmctld.log and $dir/slurmd.log" >&2
  exit 4
}

case $what in
  start) start ;;
  stop) stop ;;
  *) sed -n '2,7p' "$0"; exit 2 ;;
esac
