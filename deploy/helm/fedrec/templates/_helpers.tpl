{{/* What is required, said in one line each. */}}
{{- define "fedrec.check" -}}
{{- if not (has .Values.role (list "coordinator" "market")) }}{{ fail (printf "role: %q; coordinator or market" .Values.role) }}{{ end }}
{{- $_ := required "files.secret: name the Secret with the part's keys" .Values.files.secret }}
{{- $_ := required "files.public: name the ConfigMap with approved.txt" .Values.files.public }}
{{- $_ := required "files.keys: name the ConfigMap with the markets' public keys" .Values.files.keys }}
{{- if eq .Values.role "market" }}
{{- $_ := required "market.name: name the market" .Values.market.name }}
{{- $_ := required "market.superlink: HOST:PORT of the coordinator's" .Values.market.superlink }}
{{- $_ := required "market.dataClaim: name the claim with the market's store" .Values.market.dataClaim }}
{{- end }}
{{- end }}

{{- define "fedrec.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Of one process of a release: (list $ "node"). */}}
{{- define "fedrec.name" -}}
{{- $root := index . 0 }}{{ printf "%s-%s" $root.Release.Name (index . 1) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "fedrec.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: fedrec
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* As little as a pod can have. */}}
{{- define "fedrec.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.user }}
  runAsGroup: {{ .Values.user }}
  fsGroup: {{ .Values.user }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{/* As little as a container can have: (list $ resources). Ready: its file was touched lately, see fedrec/deployment/alive.py. */}}
{{- define "fedrec.container" -}}
{{- $root := index . 0 -}}
image: {{ include "fedrec.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
readinessProbe:
  exec: {command: [sh, -c, 'test -n "$(find /tmp/alive -newermt "-45 seconds" 2>/dev/null)"']}
  periodSeconds: 5
  timeoutSeconds: 10
resources: {{ toJson (index . 1) }}
{{- end }}

{{- define "fedrec.logs" -}}
- {name: FEDREC_LOG_LEVEL, value: {{ .Values.logs.level | quote }}}
- {name: FEDREC_LOG_FORMAT, value: {{ .Values.logs.format | quote }}}
{{- end }}

{{/* The exporter of the numbers that the executor beside it writes. */}}
{{- define "fedrec.exporter" -}}
- name: metrics
  command: [python, -m, fedrec.deployment.exporter, /metrics/fedrec.prom, "9095"]
  {{- include "fedrec.container" (list . (dict "requests" (dict "cpu" "10m" "memory" "64Mi") "limits" (dict "memory" "256Mi"))) | nindent 2 }}
  ports: [{name: metrics, containerPort: 9095}]
  env: {{- include "fedrec.logs" . | nindent 4 }}
  volumeMounts:
    - {name: tmp-metrics, mountPath: /tmp}
    - {name: metrics, mountPath: /metrics, readOnly: true}
{{- end }}

{{- define "fedrec.memory" -}}
emptyDir: {medium: Memory, sizeLimit: 256Mi}
{{- end }}

{{- define "fedrec.claim" -}}
{{- $root := index . 0 }}{{- $given := index . 1 -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "fedrec.name" (list $root (index . 2)) }}
  labels: {{- include "fedrec.labels" (list $root $root.Values.role) | nindent 4 }}
  annotations: {helm.sh/resource-policy: keep}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: {{ $given.size }}}}
  {{- with $given.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
{{- end }}

{{/* Who may read numbers. */}}
{{- define "fedrec.metricsIngress" -}}
- from: {{ toJson (.Values.metrics.from | default (list (dict "podSelector" dict))) }}
  ports: [{port: 9095, protocol: TCP}]
{{- end }}
