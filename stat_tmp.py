import sys,os,re; sys.path.insert(0,os.getcwd())
from agenttune.measure import bcc
from ctypes import *
orig=bcc.BccObject._load_program
def lp(self,name,kind,code):
    log=create_string_buffer(1<<20)
    o=bcc._LoadOptions(sz=sizeof(bcc._LoadOptions),log_level=4,log_size=1<<20,log_buf=addressof(log))
    fd=self._library.call("bpf_prog_load",kind,name.encode()[:15],b"GPL",code,len(code)//8,byref(o))
    print(name,len(code)//8,fd>0,log.value.decode().strip().splitlines()[-1:])
    if fd>0: os.close(fd)
    return orig(self,name,kind,code)
bcc.BccObject._load_program=lp
from agenttune.measure.backend import choose
from agenttune.measure.filter import Filter
from agenttune.measure.steps_engine import BpfSteps
import time
for n in ("libbpf","bcc"):
    t=time.time()
    try: e=BpfSteps(Filter(),False,choose(n)); print(n,"ok",time.time()-t,e._loaded.missing); e.close()
    except Exception as x: print(n,"FAIL",time.time()-t,getattr(x,"message",x)[-900:])
